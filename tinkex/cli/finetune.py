"""The recipe of the quickstart: teach a model a handful of examples, by heart."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tinkex import types
from tinkex.cli.dataset import Example
from tinkex.tokenizers import Tokenizer
from tinkex.training_client import TrainingClient

END = "\n"
"""Closes every completion, so that the model learns where to stop; any tokenizer can write it."""

TOKENS_PER_STEP = 1024
_WARMUP_STEPS = 10
_SLOW_BELOW = 0.5  # nats a byte: from here on the learning rate falls with the loss
_SLOWEST = 0.1


@dataclass(frozen=True)
class Lesson:
    """An example in tokens: ``datum`` scores ``trained`` tokens, which spell ``size`` bytes of text."""

    datum: types.Datum
    size: int
    trained: int

    @property
    def length(self) -> int:
        return self.datum.model_input.length


@dataclass(frozen=True)
class Step:
    """After optimizer step ``number`` (from 1): ``loss`` in nats per byte, of all lessons as last seen."""

    number: int
    loss: float


def lesson(tokenizer: Tokenizer, example: Example) -> Lesson:
    """Next-token prediction of the completion after the prompt; without one, of all but the first token."""
    prompt = tokenizer.encode(example.prompt) if example.prompt else []
    completion = tokenizer.encode(example.completion + END)
    size = len((example.completion + END).encode("utf-8", errors="replace"))
    if not prompt:
        prompt, completion = completion[:1], completion[1:]
        size -= _byte_length(tokenizer, prompt)
    tokens = prompt + completion
    weights = [0.0] * (len(prompt) - 1) + [1.0] * len(completion)
    datum = types.Datum(
        model_input=types.ModelInput.from_ints(tokens[:-1]),
        loss_fn_inputs={"target_tokens": tokens[1:], "weights": weights},
    )
    return Lesson(datum, size, len(completion))


def loss_per_byte(training: TrainingClient, lessons: Sequence[Lesson]) -> float:
    """The model's loss on all ``lessons``, in nats per byte of their completions; trains nothing."""
    output = training.forward([item.datum for item in lessons], "cross_entropy").result()
    return sum(_losses(output, lessons)) / sum(item.size for item in lessons)


def train(
    training: TrainingClient, lessons: Sequence[Lesson], *, steps: int, learning_rate: float, target: float
) -> Iterator[Step]:
    """Train with AdamW on shuffled batches, ``steps`` of them or until below ``target`` nats a byte.

    The learning rate rises over the first steps, and falls with the loss towards the end.
    """
    seen: dict[int, float] = {}
    loss = float("inf")
    batches = _batches(lessons)
    for number in range(1, steps + 1):
        batch = next(batches)
        warm = min(1.0, number / _WARMUP_STEPS)
        settle = max(_SLOWEST, min(1.0, loss / _SLOW_BELOW))
        # Both are sent before either is waited for: the server runs them back to back.
        output = training.forward_backward([lessons[i].datum for i in batch], "cross_entropy")
        update = training.optim_step(types.AdamParams(learning_rate=learning_rate * warm * settle))
        losses = _losses(output.result(), [lessons[i] for i in batch])
        update.result()
        seen.update(zip(batch, losses, strict=True))
        loss = sum(seen.values()) / sum(lessons[i].size for i in seen)
        yield Step(number, loss)
        if len(seen) == len(lessons) and loss < target:
            return


def _batches(lessons: Sequence[Lesson]) -> Iterator[list[int]]:
    """For ever: indices of lessons, all before any again, shuffled, in batches of ``TOKENS_PER_STEP``."""
    shuffler = random.Random(0)
    order = list(range(len(lessons)))
    while True:
        shuffler.shuffle(order)
        batch: list[int] = []
        tokens = 0
        for index in order:
            batch.append(index)
            tokens += lessons[index].length
            if tokens >= TOKENS_PER_STEP:
                yield batch
                batch, tokens = [], 0
        if batch:
            yield batch


def _losses(output: types.ForwardBackwardOutput, lessons: Sequence[Lesson]) -> list[float]:
    """Nats of each lesson, from the logprobs that came back: not every server reports the loss itself."""
    pairs = zip(output.loss_fn_outputs, lessons, strict=True)
    return [-sum(outputs["logprobs"].tolist()[-item.trained :]) for outputs, item in pairs]


def _byte_length(tokenizer: Tokenizer, tokens: list[int]) -> int:
    text = tokenizer.decode(tokens)
    # A piece of a character decodes to U+FFFD; then a token is a byte.
    return len(tokens) if "\ufffd" in text else len(text.encode("utf-8"))
