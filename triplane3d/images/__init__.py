"""Photos become pixel tensors: reading, background removal, framing, colour statistics."""
