"""The language model ``tinkex/byte-lm``: its network, how it is trained, and how it is sampled.

Nothing in this folder knows of HTTP, of requests or of the server. What cannot be done raises a ``ModelError``.
"""
