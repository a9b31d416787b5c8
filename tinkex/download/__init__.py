"""Checkpoints on disk: signed URLs fetched with resumption, archives unpacked with suspicion."""
