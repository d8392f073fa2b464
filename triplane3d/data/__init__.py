"""Training data: procedural shapes, shards of samples, latents and views."""
