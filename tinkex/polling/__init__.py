"""Polling: waiting for the results of work that a server has accepted."""
