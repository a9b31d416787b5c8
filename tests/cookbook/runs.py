"""What the cookbook's loops wrote into their log folder, and the data that several tests train on."""

from __future__ import annotations

import json
from pathlib import Path

MODEL = "tinkex/byte-lm"
RENDERER = "role_colon"


def by_step(log_path: Path, name: str) -> dict[int, float]:
    """The values of the metric ``name`` by the number of the step. A step that was repeated has its last value."""
    lines = (log_path / "metrics.jsonl").read_text("utf-8").splitlines()
    return {line["step"]: line[name] for line in map(json.loads, lines) if name in line}


def mean(values: list[float]) -> float:
    return sum(values) / len(values)
