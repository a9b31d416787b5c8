"""Shows how far ``tinkex train`` is."""

from __future__ import annotations

import time
from collections.abc import Callable

import click

from tinkex.cli.output import plain
from tinkex.cli.progress import NotedUpdate
from tinkex.finetune.loop import Row
from tinkex.finetune.trackers import Tracker


class Reporter:
    """Shows each step in the progress bar, in a few lines where there is no terminal, and to the trackers."""

    def __init__(
        self, steps: int, update: NotedUpdate, say: Callable[[str], None], followers: list[Tracker]
    ) -> None:
        self._steps = steps
        self._update = update
        self._say = say
        self._followers = followers
        self._tokens = 0
        self._started = time.monotonic()
        self._first: int | None = None

    def __call__(self, row: Row) -> None:
        """Show one step."""
        step = row["step"]
        self._first = step if self._first is None else self._first
        self._tokens += row["tokens"]
        spent = time.monotonic() - self._started
        speed = self._tokens / max(spent, 1e-9)
        left = spent / max(1, step - self._first + 1) * (self._steps - step)
        text = f"loss {row['loss']:.3f}  {speed:,.0f} tokens/s"
        self._update(step, self._steps, text)
        if "eval_loss" in row or step == self._steps or step % max(1, self._steps // 20) == 0:
            evaluation = f"  evaluation {row['eval_loss']:.3f}" if "eval_loss" in row else ""
            self._say(f"step {step:5}/{self._steps}  {text}  {left:,.0f} s left{evaluation}")
        for follower in list(self._followers):
            try:
                follower.log(row)
            except Exception as error:  # a tracker that cannot be reached is no reason to stop
                self._followers.remove(follower)
                click.echo(
                    plain(f"{type(follower).__name__} gets no more metrics: {' '.join(str(error).split())}"),
                    err=True,
                )
