"""The stages as functions: `autoencoder.train`, `encode.encode`, `denoiser.train`; `run` holds what they share."""
