"""Public checkpoints → saved pipelines in safetensors, with every tensor accounted for."""
