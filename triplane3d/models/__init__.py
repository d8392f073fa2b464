"""The networks: autoencoder, denoiser and the field between them. They know no mesh, no file, no argument parser."""
