"""Sampling: one token after another, for all samples of a request at the same time.

Every log-probability returned is the model's own: at temperature 1, over the whole vocabulary, before top-k
and top-p. So a text has the same log-probabilities whether it is sampled, scored as a prompt, or trained on.
The end-of-text token always ends a sample. The token or string that ends a sample is the last part of it.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np

from tinkex.local.byte_tokenizer import END_OF_TEXT, VOCAB_SIZE
from tinkex.local.model.arrays import Floats, Ints
from tinkex.local.model.network import AdaptedModel, log_softmax, windows
from tinkex.local.model.outputs import EMPTY_LOGPROB, SampledSequence, SampleOutput, Topk

_STEPS_PER_TURN = 32  # tokens of every sample, until another request gets its turn
_MIN_TEMPERATURE = 1e-30  # a lower one changes nothing, and could overflow
_ROWS_AT_ONCE = 4096  # draws computed at once, to bound the memory of many alternatives to a long prompt


@dataclass(frozen=True)
class SampleRequest:
    """A request for continuations of a prompt, and for scores of the prompt itself.

    ``stop`` has token sequences that end a sample. A ``top_k`` of 0 means no limit. ``last_n`` is how
    many of the prompt's last tokens to score, or None for all of them.
    """

    prompt: Ints
    num_samples: int
    max_tokens: int
    temperature: float
    top_k: int
    top_p: float
    seed: int | None
    stop: tuple[tuple[int, ...], ...]
    prompt_logprobs: bool
    last_n: int | None
    topk_prompt: int
    topk_sample: int
    target_prompt: Ints | None
    prompt_alt: int


def sample(model: AdaptedModel, request: SampleRequest) -> Generator[None, None, SampleOutput]:
    """Compute the samples in turns: the generator yields after every few tokens, and returns the output."""
    randoms = [
        np.random.default_rng(None if request.seed is None else [request.seed, i])
        for i in range(request.num_samples)
    ]
    prompt = _score_prompt(model, request)
    yield None
    sequences = yield from _generate(model, request, randoms)
    return SampleOutput(sequences, *prompt)


class _Stream:
    """One sample while it is being made."""

    def __init__(self, request: SampleRequest, random: np.random.Generator) -> None:
        self._request = request
        self.random = random
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        self.topk: list[tuple[Ints, Floats]] = []
        self.stop_reason: str | None = None

    def add(self, token: int, logprob: float) -> None:
        self.tokens.append(token)
        self.logprobs.append(logprob)
        if token == END_OF_TEXT or any(self.tokens[-len(s) :] == list(s) for s in self._request.stop):
            self.stop_reason = "stop"
        elif len(self.tokens) >= self._request.max_tokens:
            self.stop_reason = "length"

    def sequence(self) -> SampledSequence:
        topk = None
        if self.topk:
            topk = Topk(np.stack([ids for ids, _ in self.topk]), np.stack([lps for _, lps in self.topk]))
        return SampledSequence(self.tokens, self.logprobs, self.stop_reason or "length", topk)


def _generate(
    model: AdaptedModel, request: SampleRequest, randoms: Sequence[np.random.Generator]
) -> Generator[None, None, list[SampledSequence]]:
    streams = [_Stream(request, random) for random in randoms]
    living = streams
    context = np.repeat(windows(request.prompt)[-1:], len(streams), axis=0)
    turn = 0
    while living:
        logits = model.logits(context)
        logprobs = log_softmax(logits)
        chosen = choose(logits, request, [stream.random for stream in living])
        picked = np.take_along_axis(logprobs, chosen[:, None], axis=1)[:, 0]
        if request.topk_sample:
            best, scores = _topk(logprobs, request.topk_sample)
            for stream, ids, row in zip(living, best, scores, strict=True):
                stream.topk.append((ids, row))
        for stream, token, logprob in zip(living, chosen.tolist(), picked.tolist(), strict=True):
            stream.add(token, logprob)
        alive = [i for i, stream in enumerate(living) if stream.stop_reason is None]
        context = np.concatenate([context[alive, 1:], chosen[alive, None]], axis=1)
        living = [living[i] for i in alive]
        turn += 1
        if turn % _STEPS_PER_TURN == 0:
            yield None
    return [stream.sequence() for stream in streams]


def choose(logits: Floats, request: SampleRequest, randoms: Sequence[np.random.Generator]) -> Ints:
    """Draw one token for each row of ``logits [n, VOCAB_SIZE]``, with the row's own random generator.

    Top-k keeps the k likeliest tokens. Top-p then keeps the smallest number of the likeliest whose probabilities
    add up to p (Holtzman et al. 2020, "The curious case of neural text degeneration"). At temperature 0 the likeliest
    token is taken.
    """
    if request.temperature == 0:
        best: Ints = logits.argmax(axis=1)
        return best
    scaled = logits.astype(np.float64) / max(request.temperature, _MIN_TEMPERATURE)
    order = np.argsort(-scaled, axis=1, kind="stable")
    probabilities = np.exp(log_softmax(np.take_along_axis(scaled, order, axis=1)))
    if request.top_k:
        probabilities[:, request.top_k :] = 0
        probabilities /= probabilities.sum(axis=1, keepdims=True)
    if request.top_p < 1:
        before = np.cumsum(probabilities, axis=1) - probabilities
        probabilities[before >= request.top_p] = 0
    steps = np.cumsum(probabilities, axis=1)
    draws = np.array([random.random() for random in randoms]) * steps[:, -1]
    # The first place where the cumulative probability exceeds the draw: never one of probability zero.
    places = (steps <= draws[:, None]).sum(axis=1)
    chosen: Ints = np.take_along_axis(order, places[:, None], axis=1)[:, 0]
    return chosen


def _topk(logprobs: Floats, k: int) -> tuple[Ints, Floats]:
    best = np.argsort(-logprobs, axis=1, kind="stable")[:, :k]
    return best, np.take_along_axis(logprobs, best, axis=1)


_PromptScores = tuple["Floats | None", "Topk | None", "Floats | None", "tuple[Ints, Floats] | None"]


def _score_prompt(model: AdaptedModel, request: SampleRequest) -> _PromptScores:
    """The scores of the prompt: log-probabilities, top-k, those of the given targets, and alternatives."""
    wanted = request.prompt_logprobs or request.topk_prompt or request.prompt_alt
    if not wanted and request.target_prompt is None:
        return None, None, None, None
    length = len(request.prompt)
    context, following = windows(request.prompt)[:-1], request.prompt[1:]
    logits = np.concatenate(
        [np.zeros((0, VOCAB_SIZE)), *(model.logits(context[c]) for c in model.blocks(context))]
    )
    table = log_softmax(logits)
    first = 0 if request.last_n is None else length - request.last_n
    scores = topk = targets = alternatives = None
    if request.prompt_logprobs:
        scores = np.full(length, np.nan)
        scores[1:] = table[np.arange(length - 1), following]
        scores[:first] = np.nan
    if request.topk_prompt:
        ids = np.zeros((length, request.topk_prompt), np.int64)
        values = np.full((length, request.topk_prompt), EMPTY_LOGPROB)
        ids[1:], values[1:] = _topk(table, request.topk_prompt)
        ids[:first], values[:first] = 0, EMPTY_LOGPROB
        topk = Topk(ids, values)
    if request.target_prompt is not None:
        asked = request.target_prompt
        found = np.take_along_axis(table, np.maximum(asked, 0), axis=1)
        targets = np.where(asked < 0, 0.0, found)
    if request.prompt_alt:
        random = np.random.default_rng(None if request.seed is None else [request.seed, request.num_samples])
        rows = np.repeat(np.arange(length - 1), request.prompt_alt)
        parts = [rows[start : start + _ROWS_AT_ONCE] for start in range(0, len(rows), _ROWS_AT_ONCE)]
        draws = [choose(logits[part], request, [random] * len(part)) for part in parts]
        drawn = np.concatenate([*draws, np.zeros(0, np.int64)])
        shape = (length - 1, request.prompt_alt)
        alternatives = drawn.reshape(shape), table[rows, drawn].reshape(shape)
    return scores, topk, targets, alternatives
