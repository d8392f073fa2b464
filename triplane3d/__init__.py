"""triplane3d: one photo in, a clean 3D asset out; and the library that trains the model which does it."""
