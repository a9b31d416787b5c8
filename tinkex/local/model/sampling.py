"""Sampling: one token after another, for all samples of a request at the same time.

Every log-probability returned is the model's own: at temperature 1, over the whole vocabulary, before top-k
and top-p. So a text has the same log-probabilities whether it is sampled, scored as a prompt, or trained on.
The end-of-text token, if the model has one, always ends a sample. The token or string that ends a sample is the last
part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np

from tinkex.local.model.arrays import Floats, Ints
from tinkex.local.model.network import AdaptedModel
from tinkex.local.model.output_layer import Distribution, log_softmax
from tinkex.local.model.outputs import EMPTY_LOGPROB, SampledSequence, SampleOutput, Topk

_STEPS_PER_TURN = 32  # tokens of every sample, until another request gets its turn
_SPECIAL_TOKENS = 8
_MIN_TEMPERATURE = 1e-30  # a lower one changes nothing, and could overflow, as one above its inverse could


@dataclass(frozen=True)
class SampleRequest:
    """A request for continuations of a prompt, and for scores of the prompt itself.

    ``stop`` has token sequences that end a sample, and ``stop_texts`` strings that do, which ``decode`` finds in the
    tokens. A ``top_k`` of 0 means no limit. ``last_n`` is how many of the prompt's last tokens to score, or None for
    all of them.
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
    end_of_text: int | None
    stop_texts: tuple[str, ...] = ()
    decode: Callable[[list[int]], str] | None = None

    def is_stopped(self, tokens: list[int]) -> bool:
        """Return whether a sample ends with the last of ``tokens``."""
        if tokens[-1] == self.end_of_text or any(tokens[-len(stop) :] == list(stop) for stop in self.stop):
            return True
        if not self.stop_texts or self.decode is None:
            return False
        # A token stands for at least a byte, but for a few special ones.
        longest = max(len(text.encode()) for text in self.stop_texts) + _SPECIAL_TOKENS
        ending = self.decode(tokens[-longest:])
        return any(text in ending for text in self.stop_texts)


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
        if self._request.is_stopped(self.tokens):
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
    context = np.repeat(model.base.windows(request.prompt)[-1:], len(streams), axis=0)
    turn = 0
    while living:
        distribution = model.distribution(context)
        draws = [stream.random.random(distribution.vocabulary.draws) for stream in living]
        chosen = choose(distribution, request, np.array(draws))
        if request.topk_sample:
            best, scores = _topk(distribution.table, request.topk_sample)
            for stream, ids, row in zip(living, best, scores, strict=True):
                stream.topk.append((ids, row))
        picked = distribution.logprobs(chosen[:, None])[:, 0]
        for stream, token, logprob in zip(living, chosen.tolist(), picked.tolist(), strict=True):
            stream.add(token, logprob)
        alive = [i for i, stream in enumerate(living) if stream.stop_reason is None]
        context = np.concatenate([context[alive, 1:], chosen[alive, None]], axis=1)
        living = [living[i] for i in alive]
        turn += 1
        if turn % _STEPS_PER_TURN == 0:
            yield None
    return [stream.sequence() for stream in streams]


def choose(distribution: Distribution, request: SampleRequest, draws: Floats) -> Ints:
    """Choose one token at each of ``n`` positions by ``draws [n, Vocabulary.draws]``, uniform numbers in [0, 1).

    Top-k keeps the k likeliest tokens. Top-p then keeps the smallest number of the likeliest whose probabilities
    add up to p (Holtzman et al. 2020, "The curious case of neural text degeneration"). At temperature 0 the likeliest
    token is taken.
    """
    if request.temperature == 0:
        best: Ints = distribution.table.argmax(axis=1)
        return best
    temperature = min(max(request.temperature, _MIN_TEMPERATURE), 1 / _MIN_TEMPERATURE)
    if request.top_k or request.top_p < 1:
        return _of_the_likeliest(distribution.table / temperature, request, draws[:, 0])
    if distribution.vocabulary.classes == 1:
        return _drawn(distribution.table / temperature, draws[:, 0])
    # The class is drawn first, then a token of the class. So a large vocabulary need not be sorted, and at
    # temperature 1 only one class of it is computed.
    if temperature == 1:
        classes = _drawn(distribution.classes, draws[:, 0])
        members = distribution.members(classes)
    else:
        table = distribution.by_class / temperature
        largest = table.max(axis=2)
        sums = np.exp(table - largest[:, :, None]).sum(axis=2)
        classes = _drawn(largest + np.log(sums), draws[:, 0])
        members = table[np.arange(len(table)), classes]
    chosen: Ints = classes * distribution.vocabulary.class_size + _drawn(members, draws[:, 1])
    return chosen


def _of_the_likeliest(logits: Floats, request: SampleRequest, draws: Floats) -> Ints:
    """Draw a token of those that top-k and top-p leave.

    Only the values are sorted, which is several times faster than sorting the ids of a large vocabulary. The id is
    that of the token with the value drawn; equal values go by id.
    """
    width = logits.shape[1]
    count = min(request.top_k or width, width)
    chosen = []
    for row, draw in zip(logits, draws, strict=True):
        largest = row if count == width else np.partition(row, -count)[-count:]
        values = np.sort(largest)[::-1]
        probabilities = np.exp(log_softmax(values.astype(np.float64)))
        if request.top_p < 1:
            before = np.cumsum(probabilities) - probabilities
            probabilities = probabilities[before < request.top_p]
        [place] = _places(probabilities[None], draw)
        rank = place - np.count_nonzero(values > values[place])
        chosen.append(np.flatnonzero(row == values[place])[rank])
    return np.array(chosen, np.int64)


def _drawn(logits: Floats, draws: Floats) -> Ints:
    """Draw a column of each row of ``logits [n, width]`` by ``draws [n]``."""
    order = np.argsort(-logits, axis=1, kind="stable")
    ordered = np.take_along_axis(logits, order, axis=1).astype(np.float64)
    places = _places(np.exp(log_softmax(ordered)), draws)
    column: Ints = np.take_along_axis(order, places[:, None], axis=1)[:, 0]
    return column


def _places(probabilities: Floats, draws: Floats) -> Ints:
    """The first place in each row where the cumulative probability exceeds the draw: never one of probability 0."""
    steps = np.cumsum(probabilities, axis=1)
    places: Ints = (steps <= (draws * steps[:, -1])[..., None]).sum(axis=1)
    return places


def _topk(logprobs: Floats, k: int) -> tuple[Ints, Floats]:
    """The ids ``[n, k]`` of the likeliest tokens, the likeliest first and equal ones by id, and their values."""
    if k * 4 >= logprobs.shape[1]:
        best: Ints = np.argsort(-logprobs, axis=1, kind="stable")[:, :k]
    else:  # a large vocabulary is not sorted as a whole
        least = np.partition(logprobs, -k, axis=1)[:, -k]
        candidates = [np.flatnonzero(row >= value) for row, value in zip(logprobs, least, strict=True)]
        best = np.array(
            [
                ids[np.argsort(-row[ids], kind="stable")[:k]]
                for row, ids in zip(logprobs, candidates, strict=True)
            ]
        )
    return best, np.take_along_axis(logprobs, best, axis=1)


_PromptScores = tuple["Floats | None", "Topk | None", "Floats | None", "tuple[Ints, Floats] | None"]


def _score_prompt(model: AdaptedModel, request: SampleRequest) -> _PromptScores:
    """The scores of the prompt: log-probabilities, top-k, those of the given targets, and alternatives."""
    length = len(request.prompt)
    context, following = model.base.windows(request.prompt)[:-1], request.prompt[1:]
    first = 0 if request.last_n is None else length - request.last_n
    scores = topk = targets = alternatives = None
    if request.prompt_logprobs:
        scores = np.full(length, np.nan)
        scores[1:] = _logprobs(model, context, following[:, None])[:, 0]
        scores[:first] = np.nan
    if request.target_prompt is not None:
        asked = request.target_prompt
        targets = np.where(asked < 0, 0.0, _logprobs(model, context, np.maximum(asked, 0)))
    if request.topk_prompt:
        ids = np.zeros((length, request.topk_prompt), np.int64)
        values = np.full((length, request.topk_prompt), EMPTY_LOGPROB)
        for cut in model.blocks(context):
            table = model.distribution(context[cut]).table
            ids[1:][cut], values[1:][cut] = _topk(table, request.topk_prompt)
        ids[:first], values[:first] = 0, EMPTY_LOGPROB
        topk = Topk(ids, values)
    if request.prompt_alt:
        random = np.random.default_rng(None if request.seed is None else [request.seed, request.num_samples])
        drawn = np.zeros((length - 1, request.prompt_alt), np.int64)
        logprobs = np.zeros(drawn.shape)
        for cut in model.blocks(context):
            distribution = model.distribution(context[cut])
            draws = random.random((*drawn[cut].shape, distribution.vocabulary.draws))
            columns = [choose(distribution, request, draws[:, i]) for i in range(request.prompt_alt)]
            drawn[cut] = np.stack(columns, axis=1)
            logprobs[cut] = distribution.logprobs(drawn[cut])
        alternatives = drawn, logprobs
    return scores, topk, targets, alternatives


def _logprobs(model: AdaptedModel, context: Ints, targets: Ints) -> Floats:
    """The log-probabilities ``[n, m]`` of ``targets [n, m]``."""
    logprobs = np.zeros(targets.shape)
    for cut in model.blocks(context, targets.shape[1]):
        logprobs[cut] = model.distribution(context[cut]).logprobs(targets[cut])
    return logprobs
