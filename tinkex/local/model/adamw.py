"""The optimizer: AdamW, and the clipping of gradients, both as PyTorch publishes them.

The update is the algorithm in the documentation of ``torch.optim.AdamW`` (Loshchilov and Hutter 2019,
"Decoupled weight decay regularization"). The clipping is that of ``torch.nn.utils.clip_grad_norm_``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tinkex.local.model.arrays import Floats, Weights


@dataclass(frozen=True)
class AdamParams:
    """The settings of one optimizer step. A ``grad_clip_norm`` of 0 turns clipping off."""

    learning_rate: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-12
    weight_decay: float = 0.0
    grad_clip_norm: float = 0.0


@dataclass(frozen=True)
class AdamState:
    """The first and second moments of every weight, and the number of steps taken so far.

    A state never changes: each step makes a new one.
    """

    step: int
    first: Mapping[str, Floats]
    second: Mapping[str, Floats]

    @classmethod
    def fresh(cls, weights: Mapping[str, Floats]) -> AdamState:
        """The state before the first step: all moments are zero."""
        zeros = {name: np.zeros_like(value) for name, value in weights.items()}
        return cls(0, zeros, zeros)


def gradient_norm(gradients: Mapping[str, Floats]) -> float:
    """The Euclidean norm of all gradients taken together as one vector."""
    return float(np.sqrt(sum(float(np.square(g, dtype=np.float64).sum()) for g in gradients.values())))


def clipped(gradients: Mapping[str, Floats], norm: float, limit: float) -> Mapping[str, Floats]:
    """``gradients``, scaled down if their ``norm`` exceeds ``limit``. A ``limit`` of 0 means no limit."""
    factor = limit / (norm + 1e-6)
    if limit <= 0 or factor >= 1:
        return gradients
    return {name: value * factor for name, value in gradients.items()}


def adamw_step(
    weights: Mapping[str, Floats], gradients: Mapping[str, Floats], state: AdamState, params: AdamParams
) -> tuple[Weights, AdamState]:
    """Do one update and return the new weights and the new state. The arguments are not changed."""
    step = state.step + 1
    correction1 = 1 - params.beta1**step
    correction2 = 1 - params.beta2**step
    updated: Weights = {}
    first: Weights = {}
    second: Weights = {}
    for name, weight in weights.items():
        gradient = gradients[name]
        first[name] = params.beta1 * state.first[name] + (1 - params.beta1) * gradient
        second[name] = params.beta2 * state.second[name] + (1 - params.beta2) * np.square(gradient)
        denominator = np.sqrt(second[name]) / np.sqrt(correction2) + params.eps
        decayed = weight * (1 - params.learning_rate * params.weight_decay)
        updated[name] = (decayed - (params.learning_rate / correction1) * (first[name] / denominator)).astype(
            weight.dtype, copy=False
        )
    return updated, AdamState(step, first, second)
