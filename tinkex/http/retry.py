"""The rules for retries: which answers are tried again, and after how many seconds."""

from __future__ import annotations

import email.utils
import random
import time
from collections.abc import Mapping

RETRYABLE_STATUS = frozenset({408, 409, 429})
JITTER = 0.25


def is_retryable(status: int, headers: Mapping[str, str]) -> bool:
    """Return whether to try again after this status: 408, 409, 429 and 5xx.

    The header ``x-should-retry`` of the answer overrides this.
    """
    advice = headers.get("x-should-retry")
    if advice in ("true", "false"):
        return advice == "true"
    return status in RETRYABLE_STATUS or status >= 500


def backoff(attempt: int, first: float, longest: float) -> float:
    """Return the seconds to wait after try number ``attempt`` (from 1).

    The wait doubles from ``first`` up to ``longest``, with a jitter of 25 % either way.
    """
    return min(first * 2.0 ** min(attempt - 1, 30), longest) * random.uniform(1 - JITTER, 1 + JITTER)


def longest_backoff(attempt: int, first: float, longest: float) -> float:
    """Return the longest wait that ``backoff`` can return for the same arguments."""
    return min(first * 2.0 ** min(attempt - 1, 30), longest) * (1 + JITTER)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the wait in seconds that the server asks for, or None.

    The headers are ``retry-after-ms``, and ``Retry-After`` with seconds or a date.
    """
    millis = _number(headers.get("retry-after-ms"))
    if millis is not None:
        return millis / 1000
    # The headers of an error are a plain dictionary with names in lower case.
    value = headers.get("Retry-After") or headers.get("retry-after")
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
