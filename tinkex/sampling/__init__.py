"""Sampling: the samples of one client that are in flight."""
