"""The losses, and their derivatives by the learner's log-probabilities.

Formulas as the Tinker documentation gives them (page "Losses"). `lp` is the learner's log-probability of
a target token, `q` the sampler's (`logprobs`), `A` the advantage, `r = exp(lp - q)`; every loss is a sum
over tokens, each times its `weights` entry where there is one:

    cross_entropy        -lp * weight
    importance_sampling  -r * A
    ppo                  -min(r * A, clip(r, low, high) * A)      low, high = 0.8, 1.2
    cispo                -clip(r, low, high) * lp * A             low, high = 0.0, 4.0; the clip is a constant
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from .arrays import Floats

Inputs = Mapping[str, Floats]
Config = Mapping[str, float]


@dataclass(frozen=True)
class Loss:
    """`compute(lp, inputs, config)` returns `(elementwise loss, its derivative by lp)`, shaped as `lp`."""

    compute: Callable[[Floats, Inputs, Config], tuple[Floats, Floats]]
    required: frozenset[str]
    config_keys: frozenset[str] = frozenset()

    @property
    def optional(self) -> frozenset[str]:
        return frozenset({"weights"}) | self.config_keys

    def __call__(self, lp: Floats, inputs: Inputs, config: Config) -> tuple[Floats, Floats]:
        losses, derivatives = self.compute(lp, inputs, config)
        if "weights" in inputs:
            return losses * inputs["weights"], derivatives * inputs["weights"]
        return losses, derivatives


def _cross_entropy(lp: Floats, inputs: Inputs, config: Config) -> tuple[Floats, Floats]:
    return -lp, -np.ones_like(lp)


def _importance_sampling(lp: Floats, inputs: Inputs, config: Config) -> tuple[Floats, Floats]:
    loss = -_ratio(lp, inputs) * inputs["advantages"]
    return loss, loss


def _ppo(lp: Floats, inputs: Inputs, config: Config) -> tuple[Floats, Floats]:
    ratio, advantages = _ratio(lp, inputs), inputs["advantages"]
    low, high = _thresholds(inputs, config, 0.8, 1.2)
    free, clipped = ratio * advantages, np.clip(ratio, low, high) * advantages
    # Where the clipped term is the smaller, the ratio is outside the thresholds and the loss is flat.
    return -np.minimum(free, clipped), np.where(free <= clipped, -free, 0.0).astype(lp.dtype)


def _cispo(lp: Floats, inputs: Inputs, config: Config) -> tuple[Floats, Floats]:
    low, high = _thresholds(inputs, config, 0.0, 4.0)
    derivatives = -np.clip(_ratio(lp, inputs), low, high) * inputs["advantages"]
    return derivatives * lp, derivatives


def _ratio(lp: Floats, inputs: Inputs) -> Floats:
    ratio: Floats = np.exp(lp - inputs["logprobs"])
    return ratio


def _thresholds(
    inputs: Inputs, config: Config, low: float, high: float
) -> tuple[Floats | float, Floats | float]:
    """Per token where the datum brings them, else from the call's configuration."""
    return (
        inputs.get("clip_low_threshold", config.get("clip_low_threshold", low)),
        inputs.get("clip_high_threshold", config.get("clip_high_threshold", high)),
    )


_CLIP = frozenset({"clip_low_threshold", "clip_high_threshold"})
_POLICY = frozenset({"target_tokens", "logprobs", "advantages"})
LOSSES: Mapping[str, Loss] = {
    "cross_entropy": Loss(_cross_entropy, frozenset({"target_tokens"})),
    "importance_sampling": Loss(_importance_sampling, _POLICY),
    "ppo": Loss(_ppo, _POLICY, _CLIP),
    "cispo": Loss(_cispo, _POLICY, _CLIP),
}
