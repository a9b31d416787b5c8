"""Checkpoints: their paths, the files that hold them, and the store that finds and administers them."""
