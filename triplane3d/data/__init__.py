"""Training data: where samples come from, how they are stored, and how they are read.

- `sample`: the fields of a sample of one shape, common to all sources; how they are stored.
- `procedural/`: shapes from seeds. They are evaluated exactly, sampled, rendered, and written as shards.
- `shards`: files of samples, and the data set that reads them.
- `latents`: files of encoded shapes, and the data set that joins them with photos.
- `streams`, `streamed_shapes`: shapes that are generated while training.
- `batches`: the numbered batches of a run. `seeds`: independent random numbers.
- `shapes`: the former name of `procedural`.
"""
