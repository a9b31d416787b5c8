"""A session's timeline in the Trace Event Format, which is JSON that the Perfetto viewer opens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tinkex.local.checkpoints.store import Checkpoint
from tinkex.local.sessions import Model, Session


def timeline(
    session: Session, runs: Sequence[str], models: Sequence[Model], checkpoints: Sequence[Checkpoint]
) -> bytes:
    """Return JSON with the start of the session, the use of each living model, and the saved checkpoints.

    ``models`` and ``checkpoints`` belong to ``runs``, the session's runs. The server does not remember
    single requests. Times are in microseconds since 1970.
    """
    rows = {name: number for number, name in enumerate((session.id, *runs))}
    events: list[dict[str, Any]] = [
        {"ph": "M", "name": "thread_name", "pid": 1, "tid": number, "args": {"name": name}}
        for name, number in rows.items()
    ]
    events.append(_instant("session created", session.created, rows[session.id]))
    for model in models:
        start, end = _micros(model.created), _micros(model.last_request)
        place = {"ts": start, "dur": end - start, "pid": 1, "tid": rows[model.id]}
        events.append({"ph": "X", "name": "model in use", **place})
    for checkpoint in checkpoints:
        events.append(
            _instant(f"saved {checkpoint.kind}/{checkpoint.name}", checkpoint.time, rows[checkpoint.run])
        )
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}).encode()


def _instant(name: str, time: str, row: int) -> dict[str, Any]:
    return {"ph": "i", "s": "t", "name": name, "ts": _micros(time), "pid": 1, "tid": row}


def _micros(time: str) -> int:
    return round(datetime.fromisoformat(time).timestamp() * 1e6)
