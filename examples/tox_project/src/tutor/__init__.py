"""Teaches a model a few sentences by heart."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import tinkex
from tinkex import types

MODEL = "tinkex/byte-lm"
RESTARTS = 3
LOST = (tinkex.SessionEndedError, tinkex.ClientPoisonedError, tinkex.NotFoundError)
"""The errors after which a new session goes on from the last saved state."""


@dataclass
class Lesson:
    """What was learned: the path of the final weights, the loss of each step, and how often it was resumed."""

    path: str = ""
    losses: list[float] = field(default_factory=list)
    resumed: int = 0


def teach(
    sentences: Sequence[str],
    *,
    steps: int = 20,
    save_every: int = 5,
    config: tinkex.Config | None = None,
    on_step: Callable[[int], None] = lambda step: None,
) -> Lesson:
    """Train on ``sentences`` for ``steps`` steps; a state is saved every ``save_every`` steps."""
    lesson, state, saved = Lesson(), None, 0
    while True:
        try:
            with tinkex.ServiceClient(config=config) as service:
                if state is None:
                    training = service.create_lora_training_client(MODEL, rank=8, seed=0)
                else:
                    training = service.create_training_client_from_state_with_optimizer(state)
                tokenizer = training.get_tokenizer()
                batch = [example(tokenizer.encode(sentence)) for sentence in sentences]
                del lesson.losses[saved:]
                for step in itertools.count(saved + 1):
                    if step > steps:
                        lesson.path = training.save_weights_for_sampler("final").result().path
                        return lesson
                    forward_backward = training.forward_backward(batch, "cross_entropy")
                    optim_step = training.optim_step(types.AdamParams(learning_rate=1e-2))
                    lesson.losses.append(forward_backward.result().metrics["loss:sum"])
                    optim_step.result()
                    on_step(step)
                    if step % save_every == 0:
                        state, saved = training.save_state(f"step-{step}").result().path, step
        except LOST:
            lesson.resumed += 1
            if lesson.resumed > RESTARTS:
                raise


def example(tokens: Sequence[int]) -> types.Datum:
    """Each token is to be predicted from those before it."""
    weights = [1.0] * (len(tokens) - 1)
    return types.Datum(
        types.ModelInput.from_ints(tokens[:-1]), {"target_tokens": tokens[1:], "weights": weights}
    )


def recite(
    path: str, beginning: str, *, length: int, count: int = 1, config: tinkex.Config | None = None
) -> list[str]:
    """Let the model at ``path`` continue ``beginning`` by ``length`` tokens, ``count`` times."""
    with tinkex.ServiceClient(config=config) as service:
        sampler = service.create_sampling_client(path)
        tokenizer = sampler.get_tokenizer()
        prompt = types.ModelInput.from_ints(tokenizer.encode(beginning))
        params = types.SamplingParams(max_tokens=length, temperature=0.0)
        futures = [sampler.sample(prompt, num_samples=1, sampling_params=params) for _ in range(count)]
        return [tokenizer.decode(future.result().sequences[0].tokens) for future in futures]
