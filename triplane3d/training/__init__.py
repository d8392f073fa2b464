"""Training: one module per stage, and the modules that the stages share.

- `autoencoder`, `latents`, `denoiser`, `distill`: stages 1 to 4. `assemble_pipeline`: the saved pipeline.
- `trainer`: batches, updates, averages of the weights, log. `checkpointing`, `state`: checkpoints and resume.
- `run_setup`, `processes`, `precision`, `throughput`, `run_log`: the start of a run, its processes and its log.
- `inputs`, `sources`: checks of what a stage needs; the data that its configuration names.
- `components`, `architecture`, `warm_start`: the models of a stage and their weights.
- `conditioning`, `noise`, `losses`, `flow_map`, `coarse_occupancy`, `optim`: parts of the objectives; optimizers.
- `validation`, `field_pictures`: scores and pictures during training.
"""
