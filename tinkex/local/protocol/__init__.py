"""Requests and results as they travel: bodies are read from JSON or proto, results are written as either."""
