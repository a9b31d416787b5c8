"""What a server tells of its checkpoints and training runs."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

RUN = "session:train:0"
PATH = f"tinker://{RUN}/weights/final"
CHECKPOINT = f"/training_runs/{RUN}/checkpoints/weights/final"
USAGE = "/billing/usage/events"
NOON = datetime(2026, 1, 2, 12, tzinfo=timezone.utc)


def checkpoint(name: str = "final", **fields: Any) -> dict[str, Any]:
    return {
        "checkpoint_id": f"weights/{name}",
        "checkpoint_type": "training",
        "time": "2026-01-02T12:00:00Z",
        "tinker_path": f"tinker://{RUN}/weights/{name}",
        "a field of tomorrow": 1,
        **fields,
    }


def training_run(run: str = RUN, **fields: Any) -> dict[str, Any]:
    return {
        "training_run_id": run,
        "base_model": "base",
        "model_owner": "me",
        "is_lora": True,
        "lora_rank": 8,
        "last_request_time": "2026-01-02T12:00:00",
        "last_checkpoint": checkpoint(size_bytes=5, expires_at="2026-01-02T13:00:00+01:00"),
        **fields,
    }


def cursor(offset: int, limit: int, total: int) -> dict[str, int]:
    return {"offset": offset, "limit": limit, "total_count": total}
