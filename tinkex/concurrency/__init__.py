"""Threads, futures, limits and fork. Knows nothing of the API."""
