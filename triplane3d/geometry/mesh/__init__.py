"""Triangle meshes: the value that the library returns, its files, samples of its surface, fewer faces."""

from triplane3d.geometry.mesh.mesh import Mesh, MeshReport

__all__ = ["Mesh", "MeshReport"]
