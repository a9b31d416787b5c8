"""The HTTP status for each error of the server's parts."""

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
    """Return the refusal for ``error``, with status 400 if the kind of error has no status of its own."""
    retry_after = error.retry_after if isinstance(error, Busy) else None
    return Refused(_STATUSES.get(type(error), 400), str(error), retry_after=retry_after)
