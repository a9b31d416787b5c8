"""Points in time, which servers write in JSON as ISO 8601, with or without a time zone."""

from __future__ import annotations

import re
from dataclasses import field
from datetime import datetime, timezone
from typing import Any

_ISO = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d)?)(?:\.(\d+))?(Z|z|[+-]\d\d:?\d\d)?")


def parse(value: Any) -> datetime:
    """Return ``value`` (ISO 8601 text, or seconds since 1970) as an aware datetime.

    Text without a time zone is in UTC. Raises ``ValueError`` for anything else.
    """
    if isinstance(value, datetime):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return datetime.fromtimestamp(value, timezone.utc)
        except (OverflowError, OSError):
            raise ValueError("a point in time beyond all calendars") from None
    found = _ISO.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"not a point in time: {value!r}")
    day, clock, fraction, zone = found.groups()
    # Before Python 3.11 fromisoformat accepts no Z, no +0000, and only three or six digits of a second.
    zone = "+00:00" if zone in (None, "Z", "z") else zone if ":" in zone else f"{zone[:3]}:{zone[3:]}"
    seconds = "" if clock.count(":") == 2 else ":00"
    return datetime.fromisoformat(f"{day}T{clock}{seconds}.{(fraction or '0')[:6]:0<6}{zone}")


def _write(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def moment(**options: Any) -> Any:
    """Return a dataclass field that holds a datetime. ``options`` are those of ``dataclasses.field``."""
    # This is what ``dataclasses_json.config(decoder=..., encoder=...)`` returns, without importing it yet.
    return field(metadata={"dataclasses_json": {"decoder": parse, "encoder": _write}}, **options)
