"""The networks: autoencoder, denoiser, reconstructor, and the fields that they produce.

This package imports nothing about meshes, files or command lines.
"""
