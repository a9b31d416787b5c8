"""The results of training and sampling, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tinkex.local.model.arrays import Floats, Ints

EMPTY_LOGPROB = -99999.0
"""Fills the cells of a top-k table at positions that were not scored."""


@dataclass(frozen=True)
class TrainingOutput:
    """The result of a forward pass: metrics, and for each datum named arrays of its targets' shape."""

    outputs: Sequence[Mapping[str, Floats]]
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Topk:
    """The likeliest tokens of each position, ``ids [n, k]`` and ``logprobs [n, k]``.

    A row that was not scored holds id 0 and ``EMPTY_LOGPROB``.
    """

    ids: Ints
    logprobs: Floats


@dataclass(frozen=True)
class SampledSequence:
    """One sample: its tokens, the model's log-probability of each, and why it ended (``stop`` or ``length``)."""

    tokens: Sequence[int]
    logprobs: Sequence[float]
    stop_reason: str
    topk: Topk | None = None


@dataclass(frozen=True)
class SampleOutput:
    """The samples of one request, and the scores of its prompt that were asked for.

    ``prompt_logprobs`` has NaN for tokens that were not scored. ``prompt_alt`` holds tokens drawn at each position
    of the prompt, and their log-probabilities.
    """

    sequences: Sequence[SampledSequence]
    prompt_logprobs: Floats | None = None
    topk_prompt: Topk | None = None
    target_prompt_logprobs: Floats | None = None
    prompt_alt: tuple[Ints, Floats] | None = None
