"""The rules for retries: which answers are tried again, and after how many seconds."""

from __future__ import annotations

import email.utils
import math
import random
import re
import threading
import time
from collections.abc import Mapping
from datetime import timezone

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
    """Return the seconds that the server asks to wait, or None if no header can be understood.

    The headers are ``retry-after-ms``, and ``Retry-After`` with seconds or a date. The result is at most the
    longest time that Python can sleep; callers limit it further.
    """
    millis = _number(headers.get("retry-after-ms"))
    if millis is not None:
        return min(millis / 1000, threading.TIMEOUT_MAX)
    # The headers of an error are a plain dictionary with names in lower case.
    value = headers.get("Retry-After") or headers.get("retry-after")
    seconds = _number(value)
    if seconds is None:
        seconds = seconds_until(value)
    return None if seconds is None else min(seconds, threading.TIMEOUT_MAX)


def _number(text: str | None) -> float | None:
    """Return the number that ``text`` has in plain decimal digits, or None.

    ``float`` would also accept ``1_0``, ``nan`` and the digits of all scripts.
    """
    number = float(text) if text and _DECIMAL.fullmatch(text) else math.inf
    return number if math.isfinite(number) else None


def seconds_until(date: str | None) -> float | None:
    """Return the seconds until the ``date`` of a header, 0 if it has passed, or None if it cannot be understood."""
    if not date or len(date) > _LONGEST_DATE:
        return None
    try:
        moment = email.utils.parsedate_to_datetime(date)
        if moment.tzinfo is None:  # the zone -0000 means UTC
            moment = moment.replace(tzinfo=timezone.utc)
        return max(0.0, moment.timestamp() - time.time())
    except Exception:
        # The parser of the standard library raises many kinds of errors, and not the same in all versions.
        return None


_DECIMAL = re.compile(r"[0-9]+(\.[0-9]*)?|\.[0-9]+")
_LONGEST_DATE = 100
