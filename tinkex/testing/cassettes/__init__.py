"""Recorded traffic: kept in a file without credentials, and played without a server."""
