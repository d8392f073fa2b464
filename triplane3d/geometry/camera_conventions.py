"""Camera poses of other programs, converted to and from the library's.

The library's convention is in `geometry/__init__.py` and `cameras.py`: a y-up world, and a camera with the axes right,
up and back. All poses here are 4 × 4 camera-to-world matrices in double precision, except COLMAP's.

| program | camera's axes x, y, z | world | pose that it stores |
|---|---|---|---|
| this library, glTF 2.0 | right, up, back | y up | camera to world (glTF: the node's transform) |
| OpenGL | right, up, back | any | world to camera (view matrix) |
| Blender, `transforms.json` of NeRF | right, up, back | z up | camera to world (`matrix_world`, `transform_matrix`) |
| OpenCV | right, down, forward | any | world to camera (`rvec`, `tvec`) |
| COLMAP | right, down, forward | any | world to camera (quaternion w, x, y, z and translation) |

Pixels: here and in COLMAP the picture's top left corner is (0, 0), so the first pixel's centre is (0.5, 0.5). In OpenCV
the first pixel's centre is (0, 0): add 0.5 to its cx and cy.

A world that is reconstructed from photographs has an arbitrary scale, origin and up direction. These functions change
the axes only.
"""

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

# right, up, back ↔ right, down, forward: a half turn about the first axis.
_HALF_TURN = np.diag([1.0, -1.0, -1.0, 1.0])

# (x, y, z) with z up → (x, z, -y) with y up: a quarter turn about x. `mesh.files.y_up` does the same to points.
_Z_UP_TO_Y_UP = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


def from_opencv(camera_to_world: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
    """The library's pose of a camera with the axes right, down and forward; the world stays as it is."""
    return np.asarray(camera_to_world, dtype=np.float64) @ _HALF_TURN


def to_opencv(camera_to_world: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
    """The inverse of `from_opencv`."""
    return np.asarray(camera_to_world, dtype=np.float64) @ _HALF_TURN


def from_colmap(quaternion: Float[np.ndarray, " 4"], translation: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "4 4"]:
    """The library's pose of a row of COLMAP's `images.txt`: quaternion (w, x, y, z), translation, world to camera."""
    w, x, y, z = np.asarray(quaternion, dtype=np.float64)
    world_to_camera = np.eye(4)
    world_to_camera[:3, :3] = Rotation.from_quat([x, y, z, w]).as_matrix()
    world_to_camera[:3, 3] = translation
    return from_opencv(np.linalg.inv(world_to_camera))


def to_colmap(
    camera_to_world: Float[np.ndarray, "4 4"],
) -> tuple[Float[np.ndarray, " 4"], Float[np.ndarray, " 3"]]:
    """The inverse of `from_colmap`; the quaternion's w is not negative."""
    world_to_camera = np.linalg.inv(to_opencv(camera_to_world))
    x, y, z, w = Rotation.from_matrix(world_to_camera[:3, :3]).as_quat()
    return np.array([w, x, y, z]) * (-1 if w < 0 else 1), world_to_camera[:3, 3]


def from_blender(camera_to_world: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
    """The library's pose of a camera of Blender or of `transforms.json`: the world turns from z up to y up."""
    return _Z_UP_TO_Y_UP @ np.asarray(camera_to_world, dtype=np.float64)


def to_blender(camera_to_world: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "4 4"]:
    """The inverse of `from_blender`."""
    return _Z_UP_TO_Y_UP.T @ np.asarray(camera_to_world, dtype=np.float64)
