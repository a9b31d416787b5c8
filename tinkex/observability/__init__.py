"""Observability: hooks around every call, the log, and the removal of secrets from text."""
