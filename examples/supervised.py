"""Supervised fine-tuning from a file of JSON lines, on the embedded server or any other.

Usage::

    pip install 'tinkex[local,cli]'
    python examples/supervised.py data.jsonl
    TINKER_API_KEY=… python examples/supervised.py data.jsonl --base-url https://… --model NAME

Each line is an object with ``prompt`` and ``completion``; the loss is taken on the completion alone.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.progress import track

import tinkex
from tinkex import types


def make_datum(tokenizer: Any, prompt: str, completion: str) -> types.Datum:
    asked, answered = tokenizer.encode(prompt), tokenizer.encode(completion + "\n")
    tokens = [*asked, *answered]
    return types.Datum(
        model_input=types.ModelInput.from_ints(tokens[:-1]),
        loss_fn_inputs={
            "target_tokens": tokens[1:],  # at each position, the token that comes next
            "weights": [0.0] * (len(asked) - 1) + [1.0] * len(answered),
        },
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Fine-tune a model on prompts and completions.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--base-url", default="local://")
    parser.add_argument("--model", default="tinkex/byte-lm")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--learning-rate", type=float, default=1e-2)
    options = parser.parse_args()
    records = [json.loads(line) for line in options.path.read_text(encoding="utf-8").splitlines() if line]

    with tinkex.ServiceClient(base_url=options.base_url) as service:
        training = service.create_lora_training_client(options.model, rank=32, seed=0)
        tokenizer = training.get_tokenizer()
        data = [make_datum(tokenizer, record["prompt"], record["completion"]) for record in records]
        scored = sum(sum(datum.loss_fn_inputs["weights"].tolist()) for datum in data)
        for step in track(range(options.steps), "training"):
            output = training.forward_backward(data, "cross_entropy")
            training.optim_step(types.AdamParams(learning_rate=options.learning_rate)).result()
            if step % 20 == 0 or step == options.steps - 1:
                nats = 0.0
                for datum, result in zip(data, output.result().loss_fn_outputs, strict=True):
                    weights = datum.loss_fn_inputs["weights"].tolist()
                    logprobs = result["logprobs"].tolist()
                    nats -= sum(w * lp for w, lp in zip(weights, logprobs, strict=True))
                print(f"step {step + 1:4}  loss {nats / scored:.3f} nats per token")

        sampler = training.save_weights_and_get_sampling_client()
        prompt = types.ModelInput.from_ints(tokenizer.encode(records[0]["prompt"]))
        params = types.SamplingParams(max_tokens=128, temperature=0.0, stop=["\n"])
        answer = sampler.sample(prompt, num_samples=1, sampling_params=params).result().sequences[0]
        print(records[0]["prompt"] + tokenizer.decode(answer.tokens).rstrip("\n"))


if __name__ == "__main__":
    main()
