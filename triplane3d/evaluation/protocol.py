"""Constants of the evaluation protocol that several modules use. docs/evaluation.md describes the protocol."""

OCCUPANCY_POINTS = 40_000
"""Points per shape at which inside and outside are compared, for each of V-IoU and S-IoU."""

SURFACE_SAMPLES = 20_000
"""Samples per surface for distances, F-scores and normal consistency."""

MEASURED_SURFACES = 16
"""Number of shapes per row whose surfaces are measured; the IoUs are measured on all shapes."""

GRID_RESOLUTION = 128
"""Cells along an edge of the grid from which a field's surface is extracted."""

ENCODED_POINTS = 4096
"""Surface points that the autoencoder encodes."""

IMAGE_SIZE = 128
"""Pixels along an edge of the images of procedural shapes."""

MESH_IMAGE_SIZE = 256
"""Pixels along an edge of the images of meshes."""

MESH_ELEVATION, MESH_FIELD_OF_VIEW = 20.0, 40.0
"""Camera of the images of meshes, in degrees."""

TWO_SIDES = (30, 210)
"""Camera azimuths in degrees, where two images of each mesh are used."""

BOOTSTRAP_RESAMPLES = 2000
"""Resamples behind every 95% confidence interval."""

SEED_STRIDE = 1_000_000
"""Distance between the first held-out shapes of two evaluation seeds."""

TRAINED = "trained families"
UNSEEN = "unseen families"
FREE = "free compositions"
MESHES = "meshes"
MESH_VIEWS = "meshes, two views"
"""Names of the data sets in reports."""
