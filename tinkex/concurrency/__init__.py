"""Threads, futures, limits, and forked processes. Nothing here knows the API."""
