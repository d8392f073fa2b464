"""Faults of a mesh removed: repeated vertices and faces, faces without area, wrong winding, small holes, floaters.

`clean` works on any mesh. A mesh that bounds a solid stays as it is, and one with few faults becomes one. Large holes
and surfaces that end in the open are left: `make_solid` (`solids.py`) closes them.
"""

import numpy as np
from jaxtyping import Bool, Float, Integer

from triplane3d.assets.orientation import wind_outwards
from triplane3d.geometry.mesh import Mesh
from triplane3d.geometry.mesh.manifold import separate_touching
from triplane3d.geometry.mesh.topology import label_components
from triplane3d.geometry.mesh.vertex_values import nearest_colors

LARGEST_HOLE = 0.1
"""Diameter of the largest round hole that `clean` closes, as a share of the diagonal of the bounding box."""
MOST_HOLE_EDGES = 200_000
"""Most open edges for which holes are searched. A mesh with more is a set of separate faces, not one with holes."""
MOST_FLIPS = 10_000
"""Most faces without area that are removed by turning an edge; each takes a step of Python."""


def clean(mesh: Mesh, *, largest_hole: float = LARGEST_HOLE) -> Mesh:
    """The mesh without repeated vertices and faces, without faces of no area, wound outwards, its small holes closed.

    Holes with a perimeter of up to π · `largest_hole` times the diagonal of the bounding box are closed. Surfaces that
    touch each other at an edge are separated, where each of them is closed. Vertices without a face are removed.

    Raises ValueError where no face with an area remains.
    """
    if not 0 <= largest_hole <= 1:
        raise ValueError(f"largest_hole is a share of the bounding box's diagonal, from 0 to 1; got {largest_hole}")
    if len(mesh.faces) == 0:
        raise ValueError("a mesh without faces cannot be cleaned")
    if mesh.is_solid:
        return mesh
    cleaned = remove_repeated_faces(mesh if mesh.is_watertight else merge_vertices(mesh))
    cleaned = remove_flat_faces(cleaned) if len(cleaned.faces) else cleaned
    if len(cleaned.faces) == 0:
        raise ValueError(f"no face of this mesh has an area: {mesh!r}")
    cleaned = wind_outwards(cleaned)
    if largest_hole > 0:
        cleaned = close_holes(cleaned, largest_hole)
    return wind_outwards(separate(cleaned))


def finite_mesh(
    vertices: Float[np.ndarray, "vertices 3"],
    faces: Integer[np.ndarray, "faces 3"],
    vertex_colors: Float[np.ndarray, "vertices 3"] | None = None,
) -> Mesh:
    """The mesh of those faces whose corners exist and are finite: for arrays with NaN, which `Mesh` refuses."""
    vertices, faces = np.asarray(vertices), np.asarray(faces)
    exists = ((faces >= 0) & (faces < len(vertices))).all(axis=1)
    fine = np.isfinite(vertices).all(axis=1)
    if vertex_colors is not None:
        vertex_colors = np.nan_to_num(vertex_colors, nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1)
    kept = faces[exists]
    kept = kept[fine[kept].all(axis=1)]
    return Mesh(np.where(fine[:, None], vertices, 0), kept, vertex_colors).select_faces(np.arange(len(kept)))


def merge_vertices(mesh: Mesh) -> Mesh:
    """Vertices at exactly the same position become one, with their mean colour. The faces' order stays."""
    positions, place, count = np.unique(
        mesh.vertices + np.float32(0), axis=0, return_inverse=True, return_counts=True
    )  # -0 becomes 0
    place = place.ravel()
    colors = None
    if mesh.vertex_colors is not None:
        sums = [np.bincount(place, channel, minlength=len(count)) for channel in mesh.vertex_colors.T]
        colors = (np.stack(sums, axis=1) / count[:, None]).clip(0, 1)
    return Mesh(positions, place[np.asarray(mesh.faces)], colors)


def remove_repeated_faces(mesh: Mesh) -> Mesh:
    """Faces with the same three corners become one. Two of opposite directions are both removed: they are a wall
    without thickness. Where a whole component is made of such pairs, one face of each is kept: a two-sided surface.
    """
    faces = np.asarray(mesh.faces)
    distinct = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    faces = faces[distinct]
    if len(faces) == 0:
        return mesh.select_faces(np.zeros(0, dtype=int))
    _, first, group = np.unique(np.sort(faces, axis=1), axis=0, return_index=True, return_inverse=True)
    group = group.ravel()
    # An even permutation of the sorted corners has the direction +1.
    turned = (faces[:, [0, 1, 2]] > faces[:, [1, 2, 0]]).sum(axis=1)
    direction = np.where(turned == 1, 1, -1)
    balance = np.bincount(group, direction)
    component = label_components(faces, len(mesh.vertices))
    single = np.ones(component.max() + 1, dtype=bool)
    single[component[first[balance != 0]]] = False  # these components have a face without an opposite
    keep = np.zeros(len(faces), dtype=bool)
    keep[first] = (balance != 0) | single[component[first]]
    # Of the copies the one with the direction of most of them is kept.
    wrong = keep & (direction * balance[group] < 0)
    faces[wrong] = faces[wrong][:, ::-1]
    return Mesh(mesh.vertices, faces[keep], mesh.vertex_colors).select_faces(np.arange(int(keep.sum())))


def flat_faces(mesh: Mesh) -> Bool[np.ndarray, " faces"]:
    """Which faces have no area, by the measure of `Mesh.check`."""
    extent = mesh.bounds[1] - mesh.bounds[0]
    return mesh.face_areas <= 1e-14 * float(extent @ extent)


def remove_flat_faces(mesh: Mesh) -> Mesh:
    """Faces without area removed, and no hole made: the longest edge of each is turned within the two faces beside it.

    A face whose corners lie on a line ends in the middle of the longest edge of its neighbour. Its own removal would
    open a slit there. The turned edge divides the neighbour instead. Faces that have no neighbour are removed.
    """
    for _ in range(3):
        flat = flat_faces(mesh)
        if not flat.any():
            return mesh
        if flat.sum() > MOST_FLIPS:
            break
        mesh = _turn_longest_edges(mesh, np.flatnonzero(flat))
    flat = flat_faces(mesh)
    return mesh.select_faces(~flat) if flat.any() else mesh


def _turn_longest_edges(mesh: Mesh, flat: Integer[np.ndarray, " flat"]) -> Mesh:
    faces = np.array(mesh.faces)
    vertices = mesh.vertices.astype(np.float64)
    wanted = {}
    for face in flat:
        lengths = np.linalg.norm(vertices[faces[face]] - vertices[np.roll(faces[face], -1)], axis=1)
        side = int(lengths.argmax())
        wanted[(int(faces[face][(side + 1) % 3]), int(faces[face][side]))] = (int(face), side)
    # Only faces with both ends of a wanted edge can be the neighbour.
    ends = np.zeros(len(vertices), dtype=bool)
    ends[np.array(list(wanted)).ravel()] = True
    removed = np.zeros(len(faces), dtype=bool)
    removed[flat] = True
    changed: set[int] = set()
    for other in np.flatnonzero(ends[faces].sum(axis=1) >= 2):
        for side in range(3):
            edge = (int(faces[other][side]), int(faces[other][(side + 1) % 3]))
            if edge not in wanted or int(other) in changed:
                continue
            face, own = wanted[edge]
            if face == other or face in changed:
                continue
            tip, far = int(faces[face][(own + 2) % 3]), int(faces[other][(side + 2) % 3])
            if tip in faces[other] or tip == far:
                continue
            # Faces (end, start, tip) and (start, end, far) become (start, tip, far) and (tip, end, far).
            start, end = edge
            faces[face], faces[other] = (start, tip, far), (tip, end, far)
            removed[face] = False
            changed |= {face, int(other)}
            break
    return Mesh(mesh.vertices, faces[~removed], mesh.vertex_colors)


def close_holes(mesh: Mesh, largest_hole: float = LARGEST_HOLE) -> Mesh:
    """Holes with a perimeter of up to π · `largest_hole` times the diagonal of the bounding box are closed.

    A hole gets a vertex in the mean of its border, with the mean colour, and a fan of faces around it; one of three
    edges gets one face. A border that touches itself at a vertex is divided there. The mesh must be consistently wound.
    """
    starts, ends = open_edges(np.asarray(mesh.faces), len(mesh.vertices))
    if len(starts) == 0 or len(starts) > MOST_HOLE_EDGES:
        return mesh
    limit = np.pi * largest_hole * float(np.linalg.norm(mesh.bounds[1] - mesh.bounds[0]))
    faces = [np.asarray(mesh.faces)]
    centers: list[np.ndarray] = []
    colors: list[np.ndarray] = []
    for loop in _loops(starts, ends):
        corners = mesh.vertices[loop].astype(np.float64)
        if len(loop) < 3 or np.linalg.norm(corners - np.roll(corners, -1, axis=0), axis=1).sum() > limit:
            continue
        following = np.roll(loop, -1)
        if len(loop) == 3:
            faces.append(loop[None])
            continue
        center = len(mesh.vertices) + len(centers)
        faces.append(np.stack([loop, following, np.full(len(loop), center)], axis=1))
        centers.append(corners.mean(axis=0))
        if mesh.vertex_colors is not None:
            colors.append(mesh.vertex_colors[loop].mean(axis=0))
    if len(faces) == 1:
        return mesh
    return Mesh(
        np.concatenate([mesh.vertices, np.reshape(centers, (-1, 3))]),
        np.concatenate(faces),
        None if mesh.vertex_colors is None else np.concatenate([mesh.vertex_colors, np.reshape(colors, (-1, 3))]),
    )


def open_edges(
    faces: Integer[np.ndarray, "faces 3"], vertex_count: int
) -> tuple[Integer[np.ndarray, " edges"], Integer[np.ndarray, " edges"]]:
    """Start and end of the half-edges that are missing: those opposite to the edges of one face only."""
    starts, ends = faces.ravel(), faces[:, [1, 2, 0]].ravel()
    keys = np.minimum(starts, ends) * np.int64(vertex_count) + np.maximum(starts, ends)
    _, group, count = np.unique(keys, return_inverse=True, return_counts=True)
    alone = count[group.ravel()] == 1
    return ends[alone], starts[alone]


def _loops(starts: np.ndarray, ends: np.ndarray) -> list[Integer[np.ndarray, " corners"]]:
    """Closed paths along the edges. Paths that end in the open are left out; a path that meets itself is divided."""
    following: dict[int, list[int]] = {}
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        following.setdefault(start, []).append(end)
    loops = []
    while following:
        path = [next(iter(following))]
        place = {path[0]: 0}
        while path and path[-1] in following:
            choices = following[path[-1]]
            here = choices.pop()
            if not choices:
                del following[path[-1]]
            if here in place:
                loop = path[place[here] :]
                loops.append(np.array(loop, dtype=np.int64))
                for vertex in loop[1:]:
                    del place[vertex]
                del path[place[here] + 1 :]
            else:
                place[here] = len(path)
                path.append(here)
    return loops


def separate(mesh: Mesh) -> Mesh:
    """Surfaces that touch at an edge or a vertex get vertices of their own (`separate_touching`), where the mesh is
    closed; otherwise the mesh unchanged."""
    result = separate_touching(mesh.vertices, np.asarray(mesh.faces))
    if result is None:
        return mesh
    vertices, faces = result
    return Mesh(vertices, faces, nearest_colors(mesh, vertices))
