"""The training recipe of the quickstart: the model learns a few examples by heart."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tinkex import types
from tinkex.cli.dataset import Example
from tinkex.tokenizers import Tokenizer
from tinkex.training_client import TrainingClient

END = "\n"
"""The end of every completion, from which the model learns where to stop. Every tokenizer can encode it."""

TOKENS_PER_STEP = 1024
"""A batch is complete when it has this many tokens."""
_WARMUP_STEPS = 10
"""The learning rate rises linearly over this many steps."""
_SLOW_BELOW = 0.5
"""Once the loss is below this many nats per byte, the learning rate is proportional to the loss."""
_SLOWEST = 0.1
"""The learning rate does not fall below this share of its full value."""


@dataclass(frozen=True)
class Lesson:
    """An example as tokens."""

    datum: types.Datum
    size: int
    """The number of bytes of text that the trained tokens stand for."""
    trained: int
    """The number of tokens on which the loss is taken. They are the last tokens of the datum."""

    @property
    def length(self) -> int:
        """The number of tokens of the model input."""
        return self.datum.model_input.length


@dataclass(frozen=True)
class Step:
    """The outcome of optimizer step ``number``, counted from 1.

    ``loss`` is in nats per byte, over the latest loss of every lesson that has been in a batch.
    """

    number: int
    loss: float


def lesson(tokenizer: Tokenizer, example: Example) -> Lesson:
    """Return the lesson that teaches the completion of an example after its prompt.

    If the prompt is empty, the first token of the completion takes its place.
    """
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
    """Return the loss of the model on ``lessons``, in nats per byte of their completions, without training."""
    output = training.forward([item.datum for item in lessons], "cross_entropy").result()
    return sum(_losses(output, lessons)) / sum(item.size for item in lessons)


def train(
    training: TrainingClient, lessons: Sequence[Lesson], *, steps: int, learning_rate: float, target: float
) -> Iterator[Step]:
    """Train with AdamW on shuffled batches; yield the outcome of each step.

    Training ends after ``steps`` steps, or once the loss is below ``target`` nats per byte. The learning rate
    rises over the first steps, and falls with the loss towards the end.
    """
    seen: dict[int, float] = {}
    loss = float("inf")
    batches = _batches(lessons)
    for number in range(1, steps + 1):
        batch = next(batches)
        warm = min(1.0, number / _WARMUP_STEPS)
        settle = max(_SLOWEST, min(1.0, loss / _SLOW_BELOW))
        # Both requests are sent before either is waited for, so the server runs one right after the other.
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
    """Yield batches of indices of lessons without end. Every lesson occurs once in each shuffled round."""
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
    """Return the loss of each lesson in nats, computed from its logprobs.

    Not every server reports the loss itself.
    """
    pairs = zip(output.loss_fn_outputs, lessons, strict=True)
    return [-sum(outputs["logprobs"].tolist()[-item.trained :]) for outputs, item in pairs]


def _byte_length(tokenizer: Tokenizer, tokens: list[int]) -> int:
    text = tokenizer.decode(tokens)
    # A token that is a part of a character decodes to U+FFFD. In such a tokenizer every token is one byte.
    return len(tokens) if "\ufffd" in text else len(text.encode("utf-8"))
