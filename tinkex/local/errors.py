"""What the server's registry, its queues and its checkpoint store raise.

These errors say what is wrong; ``routes/statuses.py`` says which HTTP status that is.
"""

from __future__ import annotations


class LocalError(Exception):
    """A request cannot be carried out; the message says why."""


class Invalid(LocalError):
    """A name or a path is malformed."""


class NotFound(LocalError):
    """There is no such session, model, sampler, checkpoint or request."""


class Gone(LocalError):
    """The session or the request did exist and is over."""


class Conflict(LocalError):
    """The number or name already stands for something else."""


class Busy(LocalError):
    """Too much work is waiting; the same request may succeed after ``retry_after`` seconds."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after
