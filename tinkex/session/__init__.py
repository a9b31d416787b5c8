"""A session on a server: what its clients share, and its telemetry."""
