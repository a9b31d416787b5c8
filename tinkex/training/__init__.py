"""Training one model: its queue of requests, passes over batches, and how models are made."""
