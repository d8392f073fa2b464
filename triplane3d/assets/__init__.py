"""Finished assets: a raw mesh is cleaned, made smaller and textured. docs/assets.md describes the steps.

- `settings.py`: `FinishSettings` and the presets;
- `finishing.py`: `finish`, all steps in order;
- `cleaning.py`: floaters, holes, winding, faces without area;
- `orientation.py`: winding of each component;
- `solids.py`: a closed solid from any mesh;
- `snapping.py`: vertices onto the field's surface;
- `smoothing.py`: Taubin's filter;
- `remeshing.py`: equal triangles, Poisson reconstruction;
- `decimation.py`: a number of faces;
- `unwrapping.py`, `box_projection.py`, `uv_map.py`: texture coordinates;
- `texturing.py`: `texture`, the steps from a mesh to a `TexturedMesh` (`textured_mesh.py`, `material.py`);
- `texels.py`, `baking.py`, `normal_maps.py`, `occlusion.py`, `pictures.py`: the texture's pictures;
- `files.py`, `glb.py`, `packages.py`: the formats of finished assets;

Each step is a function that can be used alone: a `Mesh` and options in, a new `Mesh` out.
"""
