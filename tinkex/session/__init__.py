"""The session on a server that clients share, its telemetry, and its end with the process."""
