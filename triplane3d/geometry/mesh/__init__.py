"""Triangle meshes.

- `mesh.py`: the value that the library returns;
- `topology.py`: edges, connected components, the report of `Mesh.check`;
- `manifold.py`, `intersections.py`: the strict test for manifolds; faces that cut each other;
- `files.py`: GLB, OBJ, PLY and STL;
- `sampling.py`: random points on the surface;
- `inside.py`: which points lie inside;
- `normalization.py`: meshes brought into the library's frame;
- `simplification.py`: fewer faces;
- `vertex_values.py`: colours for the vertices of a mesh that was made from another one.

A step that turns a mesh into another mesh is a function in a file of its own: `Mesh` and options in, a new `Mesh` out.
"""

from triplane3d.geometry.mesh.mesh import Mesh
from triplane3d.geometry.mesh.topology import MeshReport

__all__ = ["Mesh", "MeshReport"]
