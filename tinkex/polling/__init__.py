"""Waiting for results of work that the server does later."""
