"""What lies behind an error of requests, which wraps those of urllib3 and of the socket."""

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
    # These come of a malformed answer, or of a request that cannot be written.
    ValueError,
    OverflowError,
    MemoryError,
)
"""What is raised for a connection that fails, or an answer that ends early or is no HTTP."""


def never_connected(error: BaseException) -> bool:
    """Whether the failure came before a connection stood, so that nothing can have arrived."""
    return any(isinstance(cause, urllib3.exceptions.NewConnectionError) for cause in _chain(error))


def cause_in_words(error: BaseException) -> str:
    """The innermost reason in words; the outer layers repeat the address and object ids."""
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
