"""The training loop: what each step sends, what its results say, and when training ends early."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from tinkex.errors import TinkerError
from tinkex.finetune.batches import Plan
from tinkex.finetune.examples import Example
from tinkex.finetune.learning_rate import Schedule
from tinkex.finetune.step_log import StepLog
from tinkex.recovery import Checkpoint, Run
from tinkex.training_client import TrainingClient
from tinkex.types.training import AdamParams, ForwardBackwardOutput

Row = dict[str, Any]
"""What is known of a step once it is done: ``step``, counted from 1, ``epoch``, ``loss``, ``learning_rate``, ``tokens``
and ``trained_tokens`` of the step, ``seconds`` since the start of the process, and ``eval_loss`` where it was measured.
Losses are in nats per trained token."""


class Diverged(TinkerError):
    """The loss is no longer a finite number."""


class _Stopped(Exception):
    """Evaluations have not become better for too long."""


@dataclass(frozen=True)
class Evaluation:
    """The examples to evaluate, the number of steps between two evaluations, and when to stop.

    Training stops after ``patience`` evaluations in a row that are not better than the best before them. None means
    never.
    """

    examples: Sequence[Example]
    every: int
    patience: int | None = None


class Loop:
    """The steps of one run, whose results are kept in two logs.

    ``metrics`` gets a row for each step, and ``checkpoints`` the path of each checkpoint. Both are first rewound to the
    checkpoint of ``run``. ``report`` is called with every new row.
    """

    def __init__(
        self,
        run: Run,
        examples: Sequence[Example],
        plan: Plan,
        schedule: Schedule,
        *,
        metrics: StepLog,
        checkpoints: StepLog,
        evaluation: Evaluation | None = None,
        report: Callable[[Row], None] = lambda row: None,
    ) -> None:
        self._run = run
        self._examples = examples
        self._plan = plan
        self._schedule = schedule
        self._evaluation = evaluation
        self._report = report
        self._started = time.monotonic()
        self.metrics = metrics
        self.checkpoints = checkpoints
        self.stopped_early: bool = False
        """Whether training ended because the evaluations did not become better."""
        at = run.checkpoint
        metrics.rewind(0 if at is None else at.step)
        checkpoints.rewind(0 if at is None else at.step)
        if at is not None and at.step not in [row["step"] for row in checkpoints.rows]:
            # The process was killed after the journal was written and before this log was, or the run starts here.
            checkpoints.append({"step": at.step, "path": at.path})

    def train(self) -> None:
        """Run all steps that are left. Raises what ``recovery.Run.train`` raises, and ``Diverged``."""
        try:
            self._stop_if_not_better()
            self._run.train(self._schedule.steps, self._do_step, self._on_step, self._on_checkpoint)
        except _Stopped:
            self.stopped_early = True

    def best(self) -> Checkpoint | None:
        """Return the checkpoint with the lowest evaluation loss, or without evaluations the last one."""
        losses = self._evaluations()
        found = [row for row in self.checkpoints.rows if row["step"] in losses]
        if not found:
            return self._run.checkpoint
        best = min(found, key=lambda row: (losses[row["step"]], row["step"]))
        return Checkpoint(best["step"], best["path"])

    def _evaluations(self) -> dict[int, float]:
        return {row["step"]: row["eval_loss"] for row in self.metrics.rows if "eval_loss" in row}

    def _do_step(self, training: TrainingClient, step: int) -> list[Future[Any]]:
        # Everything is queued before anything is waited for, so that the server always has the next request.
        futures: list[Future[Any]] = [
            training.forward_backward(_data(self._examples[at] for at in batch), "cross_entropy")
            for batch in self._plan.step(step)
        ]
        futures.append(training.optim_step(AdamParams(learning_rate=self._schedule.rate(step))))
        if self._is_evaluated(step):
            assert self._evaluation is not None
            futures.append(training.forward(_data(self._evaluation.examples), "cross_entropy"))
        return futures

    def _is_evaluated(self, step: int) -> bool:
        done = step + 1
        if self._evaluation is None:
            return False
        return done == self._schedule.steps or done % self._evaluation.every == 0

    def _on_step(self, step: int, results: list[Any]) -> None:
        batches = self._plan.step(step)
        examples = [self._examples[at] for batch in batches for at in batch]
        outputs = [output for result in results[: len(batches)] for output in _outputs(result)]
        row: Row = {
            "step": step + 1,
            "epoch": self._plan.epoch(step) + 1,
            "loss": mean_loss(outputs, examples),
            "learning_rate": self._schedule.rate(step),
            "tokens": sum(len(example.tokens) for example in examples),
            "trained_tokens": sum(example.trained for example in examples),
            "seconds": round(time.monotonic() - self._started, 3),
        }
        if self._is_evaluated(step):
            assert self._evaluation is not None
            row["eval_loss"] = mean_loss(_outputs(results[-1]), self._evaluation.examples)
        if not all(math.isfinite(row[name]) for name in ("loss", "eval_loss") if name in row):
            raise Diverged(f"the loss is not a finite number at step {step + 1}: try a lower learning rate")
        self.metrics.append(row)
        self._report(row)

    def _on_checkpoint(self, checkpoint: Checkpoint) -> None:
        self.checkpoints.append({"step": checkpoint.step, "path": checkpoint.path})
        self._stop_if_not_better()

    def _stop_if_not_better(self) -> None:
        patience = self._evaluation and self._evaluation.patience
        losses = list(self._evaluations().values())
        if patience and losses and len(losses) - 1 - losses.index(min(losses)) >= patience:
            raise _Stopped


def mean_loss(outputs: Sequence[Any], examples: Sequence[Example]) -> float:
    """Return the mean loss of the trained tokens in nats, computed from their logprobs.

    Not every server reports the loss itself. Raises ``TinkerError`` if the server reports no logprobs.
    """
    total, count = 0.0, 0
    if len(outputs) != len(examples):
        raise TinkerError(f"the server returned {len(outputs)} outputs for {len(examples)} examples")
    for output, example in zip(outputs, examples):
        logprobs = output["logprobs"].tolist() if "logprobs" in output else None
        if logprobs is None or len(logprobs) != len(example.tokens) - 1:
            raise TinkerError(
                "the server returned no logprobs of the trained tokens, so there is no loss to show"
            )
        total -= sum(logprob for logprob, learned in zip(logprobs, example.learned[1:]) if learned)
        count += example.trained
    return total / max(1, count)


def _outputs(result: ForwardBackwardOutput) -> list[Any]:
    return list(result.loss_fn_outputs)


def _data(examples: Iterable[Example]) -> list[Any]:
    return [example.datum() for example in examples]
