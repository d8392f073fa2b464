"""Atomic writing of files and folders, locks of folders, tensor files that are checked when opened."""
