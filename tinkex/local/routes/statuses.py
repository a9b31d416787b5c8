"""Which HTTP status the errors of the server's parts are answered with."""

from __future__ import annotations

from tinkex.local.errors import Busy, Conflict, Gone, Invalid, LocalError, NotFound
from tinkex.local.model.errors import InvalidInput, ModelError
from tinkex.local.protocol.refused import Refused

_STATUSES: dict[type[Exception], int] = {
    Invalid: 400,
    InvalidInput: 400,
    NotFound: 404,
    Conflict: 409,
    Gone: 410,
    Busy: 429,
}


def refused(error: LocalError | ModelError) -> Refused:
    """``error`` with its status; 400 for errors that have none of their own."""
    retry_after = error.retry_after if isinstance(error, Busy) else None
    return Refused(_STATUSES.get(type(error), 400), str(error), retry_after=retry_after)
