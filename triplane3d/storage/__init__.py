"""Files that are written whole or not at all, folders with one writer, tensor files that are checked when opened."""
