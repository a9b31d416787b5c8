"""The language models: their network, how they are trained, and how they are sampled.

Nothing in this folder knows of HTTP, of requests or of the server. What cannot be done raises a ``ModelError``.
"""
