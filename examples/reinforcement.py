"""Reinforcement learning with a toy reward: the model learns to answer in small letters.

Usage::

    pip install 'tinkex[local,cli]'
    python examples/reinforcement.py

Every round samples a group of answers, rewards each answer with its share of small letters, and takes one
policy-gradient step with the loss ``importance_sampling``. The advantage of an answer is its reward minus the mean
reward of the group.
"""

from __future__ import annotations

import argparse
import statistics
import string

from rich.progress import track

import tinkex
from tinkex import types

PROMPT = "Say something: "
SMALL_LETTERS = set(string.ascii_lowercase.encode())
ANSWER_TOKENS = 12


def reward(tokens: list[int]) -> float:
    return sum(token in SMALL_LETTERS for token in tokens) / len(tokens)


def make_datum(prompt: list[int], answer: types.SampledSequence, advantage: float) -> types.Datum:
    """Return a datum of prompt and answer. The prompt has no advantage, so nothing is learned from it."""
    assert answer.logprobs is not None
    tokens = [*prompt, *answer.tokens]
    asked = [0.0] * (len(prompt) - 1)
    return types.Datum(
        model_input=types.ModelInput.from_ints(tokens[:-1]),
        loss_fn_inputs={
            "target_tokens": tokens[1:],
            "logprobs": [*asked, *answer.logprobs],
            "advantages": asked + [advantage] * len(answer.tokens),
        },
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Teach a model to prefer small letters.")
    parser.add_argument("--base-url", default="local://")
    parser.add_argument("--model", default="tinkex/byte-lm")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--group-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=5e-3)
    options = parser.parse_args()

    with tinkex.ServiceClient(base_url=options.base_url) as service:
        training = service.create_lora_training_client(options.model, rank=16, seed=0)
        prompt = list(training.get_tokenizer().encode(PROMPT))
        for round_number in track(range(options.rounds), "rounds"):
            sampler = training.save_weights_and_get_sampling_client()
            params = types.SamplingParams(max_tokens=ANSWER_TOKENS, seed=round_number)
            sampled = sampler.sample(
                types.ModelInput.from_ints(prompt), num_samples=options.group_size, sampling_params=params
            )
            answers = sampled.result().sequences
            rewards = [reward(answer.tokens) for answer in answers]
            mean = statistics.fmean(rewards)
            if round_number % 5 == 0 or round_number == options.rounds - 1:
                print(f"round {round_number + 1:3}  mean reward {mean:.3f}")

            data = [
                make_datum(prompt, *pair) for pair in zip(answers, [r - mean for r in rewards], strict=True)
            ]
            training.forward_backward(data, "importance_sampling")
            training.optim_step(types.AdamParams(learning_rate=options.learning_rate)).result()


if __name__ == "__main__":
    main()
