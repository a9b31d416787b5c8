"""When to try a request again, and how long to wait before."""

from __future__ import annotations

import email.utils
import random
import time
from collections.abc import Mapping

RETRYABLE_STATUS = frozenset({408, 409, 429})
JITTER = 0.25


def is_retryable(status: int, headers: Mapping[str, str]) -> bool:
    """408, 409, 429 and 5xx are tried again, unless the server's ``x-should-retry`` says otherwise."""
    advice = headers.get("x-should-retry")
    if advice in ("true", "false"):
        return advice == "true"
    return status in RETRYABLE_STATUS or status >= 500


def backoff(attempt: int, first: float, longest: float) -> float:
    """Seconds to wait after try number ``attempt`` (from 1): doubling from ``first`` to ``longest``, with jitter."""
    return min(first * 2.0 ** min(attempt - 1, 30), longest) * random.uniform(1 - JITTER, 1 + JITTER)


def longest_backoff(attempt: int, first: float, longest: float) -> float:
    """The most seconds that ``backoff`` gives for the same arguments."""
    return min(first * 2.0 ** min(attempt - 1, 30), longest) * (1 + JITTER)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The wait in seconds that the server asks for (``retry-after-ms``, or ``Retry-After``: seconds or a date)."""
    millis = _number(headers.get("retry-after-ms"))
    if millis is not None:
        return millis / 1000
    value = headers.get("Retry-After") or headers.get("retry-after")  # of an answer, or of an error
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if 0 <= number < 86_400 else None
