"""A training run that is killed in the middle, is started again, and ends with the same weights.

Usage::

    pip install 'tinkex[local,cli]'
    python examples/resume.py                          # the demonstration
    python examples/resume.py FOLDER                   # one run; kill it, start it again, it goes on
    python examples/resume.py FOLDER --base-url URL    # on a server of its own: python -m tinkex.local --directory …

The demonstration trains twice, each time in a new process. The first run is not disturbed. The second is killed
without notice, and the embedded server with it, and started again. Both print a digest of the final model's exact
logprobs.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

import tinkex
from tinkex import recovery, types

LINES = [
    "A journal names the last checkpoint.",
    "A checkpoint holds weights and optimizer.",
    "What was lost is done again, what was kept is not.",
    "Every step counts exactly once.",
]
SAVE_EVERY = 10


def make_datum(line: str) -> types.Datum:
    tokens = list((line + "\n").encode())
    return types.Datum(types.ModelInput.from_ints(tokens[:-1]), {"target_tokens": tokens[1:]})


def do_step(killed_at: int, training: tinkex.TrainingClient, step: int) -> Sequence[Future[Any]]:
    """Queue one step. Its batch depends on its number alone, so a step that is run again is the same step."""
    if step == killed_at:
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))  # on Windows either ends it at once
    batch = [make_datum(line) for line in random.Random(step).sample(LINES, 2)]
    return training.forward_backward(batch, "cross_entropy"), training.optim_step(
        types.AdamParams(learning_rate=1e-2)
    )


def create(model: str, service: tinkex.ServiceClient) -> tinkex.TrainingClient:
    return service.create_lora_training_client(model, rank=16, seed=0)


def train(options: argparse.Namespace) -> str:
    """Train in a folder, after the last checkpoint there, and return a digest of the final model."""
    folder, steps = options.folder, options.steps
    folder.mkdir(parents=True, exist_ok=True)
    url = options.base_url or f"local://{(folder / 'checkpoints').absolute()}"
    run = recovery.Run(
        functools.partial(create, options.model),
        connect=lambda: tinkex.ServiceClient(base_url=url),
        journal=folder / "journal.json",
        save_every=SAVE_EVERY,
    )
    console = Console(stderr=True)
    with run, Progress(console=console) as bar:
        done = run.checkpoint.step if run.checkpoint else 0
        if done:
            console.print(f"{folder.name}: resuming after step {done}")
        task = bar.add_task(folder.name, total=steps, completed=done)
        run.train(
            steps,
            functools.partial(do_step, options.killed_at),
            on_step=lambda step, results: bar.update(task, completed=step + 1),
        )
        data = [make_datum(line) for line in LINES]
        said = run.training.forward(data, "cross_entropy").result().loss_fn_outputs
    logprobs = [output["logprobs"].tolist() for output in said]
    return hashlib.sha256(repr(logprobs).encode()).hexdigest()


def demonstrate(arguments: Sequence[str], steps: int) -> bool:
    """Return whether a run that is killed and resumed ends with the same model as one that is not."""

    def run(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, __file__, *arguments, str(folder), *more]
        return subprocess.run(command, check=not more, stdout=subprocess.PIPE, text=True)

    with tempfile.TemporaryDirectory() as place:
        peaceful = run(Path(place, "in peace"))
        killed_at = steps // 2 + SAVE_EVERY // 2
        run(Path(place, "killed"), "--killed-at", str(killed_at))
        print(f"killed in step {killed_at} of {steps}, started again")
        resumed = run(Path(place, "killed"))
    print(f"in peace: {peaceful.stdout}killed:   {resumed.stdout}", end="")
    return peaceful.stdout == resumed.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description="Train, be killed, go on, end with the same weights.")
    parser.add_argument("folder", type=Path, nargs="?", help="train here (default: demonstrate)")
    parser.add_argument("--base-url", help="default: the embedded server, its checkpoints in the folder")
    parser.add_argument("--model", default="tinkex/byte-lm")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--killed-at", type=int, default=-1, help="the process ends itself in this step")
    options = parser.parse_args()
    if options.folder:
        print(train(options))
        return
    same = demonstrate(sys.argv[1:], options.steps)
    print("the same weights" if same else "the weights differ")
    sys.exit(not same)


if __name__ == "__main__":
    main()
