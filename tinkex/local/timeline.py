"""A session's timeline in the Trace Event Format, JSON that the Perfetto viewer opens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from .checkpoints import Checkpoint
from .state import Model, Session


def timeline(
    session: Session, runs: Sequence[str], models: Sequence[Model], checkpoints: Sequence[Checkpoint]
) -> bytes:
    """What the server remembers: when the session began, when each model that lives was in use, and when the
    checkpoints were saved; single requests are not remembered. `models` and `checkpoints` are of `runs`. Times
    are in microseconds since 1970.
    """
    lanes = {name: number for number, name in enumerate((session.id, *runs))}
    events: list[dict[str, Any]] = [
        {"ph": "M", "name": "thread_name", "pid": 1, "tid": number, "args": {"name": name}}
        for name, number in lanes.items()
    ]
    events.append(_instant("session created", session.created, lanes[session.id]))
    for model in models:
        start, end = _micros(model.created), _micros(model.last_request)
        place = {"ts": start, "dur": end - start, "pid": 1, "tid": lanes[model.id]}
        events.append({"ph": "X", "name": "model in use", **place})
    for checkpoint in checkpoints:
        events.append(
            _instant(f"saved {checkpoint.kind}/{checkpoint.name}", checkpoint.time, lanes[checkpoint.run])
        )
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}).encode()


def _instant(name: str, time: str, lane: int) -> dict[str, Any]:
    return {"ph": "i", "s": "t", "name": name, "ts": _micros(time), "pid": 1, "tid": lane}


def _micros(time: str) -> int:
    return round(datetime.fromisoformat(time).timestamp() * 1e6)
