"""The errors of the server's sessions, queues and checkpoint store.

An error says what is wrong. ``routes/statuses.py`` has the HTTP status for each.
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
    """The number or the name is already used for something else."""


class Busy(LocalError):
    """Too much work is waiting; the same request may succeed after ``retry_after`` seconds."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after
