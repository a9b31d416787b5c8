"""Finds the causes of an error of ``requests``, which wraps errors of urllib3 and of the socket."""

from __future__ import annotations

from http.client import HTTPException
from typing import Any

import requests
import urllib3.exceptions

BROKEN = (
    requests.exceptions.RequestException,
    urllib3.exceptions.HTTPError,
    HTTPException,
    OSError,
    # These are raised for a malformed answer, or for a request that cannot be written.
    ValueError,
    OverflowError,
    MemoryError,
)
"""The errors of a connection that fails, and of an answer that ends early or is not HTTP."""


def never_connected(error: BaseException) -> bool:
    """Return whether no connection was made, so that the server cannot have received anything."""
    return any(isinstance(cause, urllib3.exceptions.NewConnectionError) for cause in _chain(error))


def cause_in_words(error: BaseException) -> str:
    """Return the text of the innermost cause. The outer errors add only the address and ids of objects."""
    causes = [cause for cause in _chain(error) if isinstance(cause, OSError) and cause.strerror]
    return str(causes[-1].strerror) if causes else str(error)


def _chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    queue: list[Any] = [error]
    while queue and len(found) < 20:
        one = queue.pop(0)
        if isinstance(one, BaseException) and one not in found:
            found.append(one)
            queue += [getattr(one, "reason", None), one.__cause__, one.__context__, *one.args]
    return found
