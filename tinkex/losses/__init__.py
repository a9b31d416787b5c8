"""Losses of the user's own, run here or traced for the server."""
