"""Geometry: fields, meshes, cameras and pictures of meshes. Nothing here depends on a network.

The frame of the whole library:

- The world is right-handed with **y up**, and the photo's camera looks at the origin **from +z** (glTF's front).
- An object has the azimuth in which the photo shows it, with gravity downwards. Its bounding box is centred and its
  longest side is 2, so it fits [-1, 1]³ tightly.
- A camera's azimuth turns it about y, from +z towards +x; its elevation raises it towards +y. Both in degrees.
- A camera's own axes are right, up and back. `camera_conventions.py` has the conventions of other programs.
- A field is positive inside the object. Its `resolution` counts the cells along an edge of [-1, 1]³; its samples are
  the `resolution + 1` points of `linspace(-1, 1)`. Meshes are wound outwards.
- Pictures have row 0 at the top, and pixel centres at half integers. Depth is measured along the camera's axis.
"""
