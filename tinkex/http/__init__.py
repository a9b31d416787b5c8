"""One ``Transport`` per client: connections, credentials, retries. Nothing here knows what a model is."""
