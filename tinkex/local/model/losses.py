"""The losses, and their derivatives with respect to the learner's log-probabilities.

The formulas are those of the Tinker documentation (page "Losses"). ``lp`` is the log-probability that the model in
training gives to a target token, ``q`` the one that the sampler gave (the input ``logprobs``), ``A`` the advantage,
and ``r = exp(lp - q)``. Every loss is a sum over tokens, each multiplied by its entry in ``weights`` if there is one:

    cross_entropy        -lp * weight
    importance_sampling  -r * A
    ppo                  -min(r * A, clip(r, low, high) * A)      low, high = 0.8, 1.2
    cispo                -clip(r, low, high) * lp * A             low, high = 0.0, 4.0; no gradient through the clip
    stable_reinforce     -min(r, 1) * lp * A                      no gradient through the minimum

The last one stands in for the loss of that name of the hosted service, whose formula is not published: it is the policy
gradient of V-trace (Espeholt et al. 2018, "IMPALA", section 4.2), which is stable on data of an older policy, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from tinkex.local.model.arrays import Floats

Inputs = Mapping[str, Floats]
Config = Mapping[str, float]


@dataclass(frozen=True)
class Loss:
    """One loss: its formula, and which inputs and settings it takes.

    ``compute(lp, inputs, config)`` returns the loss of each token and its derivative with respect to ``lp``. Both
    have the shape of ``lp``.
    """

    compute: Callable[[Floats, Inputs, Config], tuple[Floats, Floats]]
    required: frozenset[str]
    config_keys: frozenset[str] = frozenset()

    @property
    def optional(self) -> frozenset[str]:
        """The inputs that a datum may have but does not need."""
        return frozenset({"weights"}) | self.config_keys

    def __call__(self, lp: Floats, inputs: Inputs, config: Config) -> tuple[Floats, Floats]:
        """The loss of each token and its derivative, with ``weights`` applied."""
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


def _stable_reinforce(lp: Floats, inputs: Inputs, config: Config) -> tuple[Floats, Floats]:
    derivatives = -np.minimum(_ratio(lp, inputs), 1) * inputs["advantages"]
    return derivatives * lp, derivatives


def _ratio(lp: Floats, inputs: Inputs) -> Floats:
    ratio: Floats = np.exp(lp - inputs["logprobs"])
    return ratio


def _thresholds(
    inputs: Inputs, config: Config, low: float, high: float
) -> tuple[Floats | float, Floats | float]:
    """The clipping thresholds: those of each token if the datum has them, else those of the whole call."""
    return (
        inputs.get("clip_low_threshold", config.get("clip_low_threshold", low)),
        inputs.get("clip_high_threshold", config.get("clip_high_threshold", high)),
    )


_CLIP = frozenset({"clip_low_threshold", "clip_high_threshold"})
_POLICY_GRADIENT = frozenset({"target_tokens", "logprobs", "advantages"})
LOSSES: Mapping[str, Loss] = {
    "cross_entropy": Loss(_cross_entropy, frozenset({"target_tokens"})),
    "importance_sampling": Loss(_importance_sampling, _POLICY_GRADIENT),
    "ppo": Loss(_ppo, _POLICY_GRADIENT, _CLIP),
    "cispo": Loss(_cispo, _POLICY_GRADIENT, _CLIP),
    "stable_reinforce": Loss(_stable_reinforce, _POLICY_GRADIENT),
}
