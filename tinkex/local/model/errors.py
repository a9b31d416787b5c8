"""The errors of the model. The server's routes turn them into answers."""

from __future__ import annotations


class ModelError(Exception):
    """The model cannot do what it was asked to do; the message says why."""


class InvalidInput(ModelError):
    """The tokens, tensors, settings or weights given do not fit the model."""


class NotFinite(ModelError):
    """The numbers became too large: a weight, a loss or a probability is infinite or NaN."""
