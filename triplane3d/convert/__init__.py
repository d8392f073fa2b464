"""Public triplane checkpoints, turned into pipelines that diffusers loads."""
