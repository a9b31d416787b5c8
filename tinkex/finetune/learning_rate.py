"""The learning rate of each step, and a default for its highest value."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tinkex.tokenizers import BYTE_MODEL

Decay = Literal["linear", "cosine", "constant"]

_HIDDEN_SIZES = (
    (1, 2048),
    (2, 2304),
    (3, 3072),
    (5, 2560),
    (10, 4096),
    (40, 5120),
    (300, 8192),
    (10_000, 16384),
)
"""Typical sizes of the hidden layers of models of up to so many billion parameters."""


@dataclass(frozen=True)
class Schedule:
    """A rise from zero over ``warmup`` steps to ``peak``, and a decay that would reach zero after ``steps`` steps."""

    peak: float
    steps: int
    warmup: int = 0
    decay: Decay = "linear"

    def rate(self, step: int) -> float:
        """Return the learning rate of step number ``step``, counted from 0."""
        if step < self.warmup:
            return self.peak * (step + 1) / (self.warmup + 1)
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        if self.decay == "linear":
            return self.peak * (1 - done)
        if self.decay == "cosine":
            return self.peak * (1 + math.cos(math.pi * done)) / 2
        return self.peak


@dataclass(frozen=True)
class Suggestion:
    """A learning rate, and where it comes from."""

    rate: float
    source: str


def suggested(model: str) -> Suggestion:
    """Return a learning rate for LoRA on ``model``, the name of a model or a folder with its ``config.json``.

    It is that of ``get_lr`` in tinker-cookbook 0.6: 5e-4 · (2000 / hidden size) ** p, where p is 0.781 for Llama
    and 0.0775 for Qwen. 5e-4 is ten times a usual rate of full fine-tuning, as found in "LoRA Without Regret"
    (https://thinkingmachines.ai/blog/lora/). Of other families the cookbook knows nothing; p is then Qwen's, with
    which the size hardly matters.
    """
    if model.split(":")[0] == BYTE_MODEL:
        return Suggestion(1e-2, "measured for the embedded model")
    config = _config(model)
    family = f"{model} {config.get('model_type', '')}".lower()
    size = _hidden_size(model, config)
    exponent = 0.781 if "llama" in family else 0.0775
    rate = 5e-4 if size is None else 5e-4 * (2000 / size) ** exponent
    of = "a model of unknown size" if size is None else f"hidden size {size}"
    return Suggestion(float(f"{rate:.3g}"), f"tinker-cookbook's get_lr for {of}; see LoRA Without Regret")


def _config(model: str) -> dict[str, object]:
    try:
        config = json.loads(Path(model, "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def _hidden_size(model: str, config: dict[str, object]) -> int | None:
    inner = config.get("text_config")
    for found in (config, inner if isinstance(inner, dict) else {}):
        size = found.get("hidden_size")
        if isinstance(size, int) and size > 0:
            return size
    billions = re.search(r"(?<![\w.])(\d+(?:\.\d+)?)b(?![a-z])", model, re.IGNORECASE)
    if billions is None:
        return None
    return next((size for most, size in _HIDDEN_SIZES if float(billions[1]) <= most), None)
