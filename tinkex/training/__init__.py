"""Training: the creation of models, passes over batches, and the queue of the requests of a model."""
