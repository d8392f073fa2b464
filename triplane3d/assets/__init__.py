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

Each step is a function that can be used alone: a `Mesh` and options in, a new `Mesh` out.
"""
