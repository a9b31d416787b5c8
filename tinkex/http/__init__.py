"""HTTP: a ``Transport`` for each client, with connections, credentials and retries. It knows nothing of models."""
