"""Reads the bodies of requests, which are JSON or proto, and writes results as either."""
