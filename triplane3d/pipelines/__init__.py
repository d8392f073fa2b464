"""Single-image 3D generation as a diffusers pipeline."""
