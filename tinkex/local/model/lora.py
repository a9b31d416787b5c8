"""Low-rank adapters (LoRA): the only weights that are trained.

A frozen matrix ``W [inputs, outputs]`` acts as ``W + (alpha / rank) * down @ up``, with ``down [inputs, rank]``
and ``up [rank, outputs]`` (Hu et al. 2021, "LoRA", section 4.1). ``up`` starts at zero, so a new adapter
leaves the model as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tinkex.local.model.arrays import Floats, Weights

ALPHA = 64.0
MAX_RANK = 128


@dataclass(frozen=True)
class LoraSpec:
    """The layers that get adapters, and their rank. Without a ``seed``, initial values differ every time."""

    rank: int = 32
    seed: int | None = None
    train_mlp: bool = True
    train_attn: bool = True
    train_unembed: bool = True

    @property
    def scale(self) -> float:
        """The factor ``alpha / rank``."""
        return ALPHA / self.rank


def trainable_layers(spec: LoraSpec, groups: Mapping[str, str]) -> list[str]:
    """The layers that ``spec`` trains. ``groups`` says of each layer whether it is mlp, attn or unembed."""
    wanted = {"mlp": spec.train_mlp, "attn": spec.train_attn, "unembed": spec.train_unembed}
    return [layer for layer, group in groups.items() if wanted[group]]


def new_adapters(spec: LoraSpec, shapes: Mapping[str, tuple[int, int]], dtype: type[np.floating]) -> Weights:
    """New adapters, named ``LAYER.down`` and ``LAYER.up``, for the layers and shapes in ``shapes``."""
    random = np.random.default_rng(spec.seed)
    adapters: Weights = {}
    for layer, (inputs, outputs) in shapes.items():
        adapters[f"{layer}.down"] = (random.standard_normal((inputs, spec.rank)) / np.sqrt(inputs)).astype(
            dtype
        )
        adapters[f"{layer}.up"] = np.zeros((spec.rank, outputs), dtype)
    return adapters


def merged(frozen: Floats, adapters: Mapping[str, Floats], layer: str, scale: float) -> Floats:
    """The matrix ``[inputs, outputs]`` of a layer with its adapter added, or ``frozen`` if it has no adapter."""
    down = adapters.get(f"{layer}.down")
    if down is None:
        return frozen
    delta: Floats = down @ adapters[f"{layer}.up"]
    delta *= scale
    delta += frozen
    return delta
