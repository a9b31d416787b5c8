"""What the cookbook's loops wrote into their log folder, and the data that several tests train on."""

from __future__ import annotations

import json
from pathlib import Path

import tinker
from tinker_cookbook.supervised.types import SupervisedDataset

MODEL = "tinkex/byte-lm"
RENDERER = "role_colon"


def by_step(log_path: Path, name: str) -> dict[int, float]:
    """The values of the metric ``name`` by the number of the step. A step that was repeated has its last value."""
    lines = (log_path / "metrics.jsonl").read_text("utf-8").splitlines()
    return {line["step"]: line[name] for line in map(json.loads, lines) if name in line}


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


class Crash(Exception):
    """Ends a loop."""


class Crashing(SupervisedDataset):
    """A dataset that ends the loop when it is asked for the batch ``crash_at``."""

    def __init__(self, dataset: SupervisedDataset, crash_at: int | None) -> None:
        self._dataset = dataset
        self._crash_at = crash_at

    def get_batch(self, index: int) -> list[tinker.Datum]:
        if index == self._crash_at:
            raise Crash
        return self._dataset.get_batch(index)

    def __len__(self) -> int:
        return len(self._dataset)

    def set_epoch(self, seed: int = 0) -> None:
        self._dataset.set_epoch(seed)
