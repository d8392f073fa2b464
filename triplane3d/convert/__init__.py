"""Conversion of public checkpoints to saved pipelines in safetensors. Every tensor must have its place."""
