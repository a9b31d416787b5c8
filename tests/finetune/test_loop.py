"""The loop: it never lets the server wait, and it says what is wrong with what the server answers."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

import pytest
from clients import config

import tinkex
from tinkex import recovery, types
from tinkex.finetune.batches import BatchSize, Plan
from tinkex.finetune.examples import Example
from tinkex.finetune.learning_rate import Schedule
from tinkex.finetune.loop import Diverged, Evaluation, Loop, mean_loss
from tinkex.finetune.step_log import StepLog
from tinkex.local import LocalServer
from tinkex.testing import Request, TinkerServer

EXAMPLES = [Example(array("i", [at, at + 1, at + 2]), b"\0\1\1") for at in range(4)]


def make_run(url: str) -> recovery.Run:
    return recovery.Run(
        lambda service: service.create_lora_training_client("tinkex/byte-lm", rank=2, seed=0),
        connect=lambda: tinkex.ServiceClient(config=tinkex.Config(url, "tml-local", telemetry=False)),
        save_every=2,
    )


def make_loop(run: recovery.Run, folder: Path, steps: int, **more: Any) -> Loop:
    return Loop(
        run,
        EXAMPLES,
        Plan([3] * 4, BatchSize(sequences=2), seed=0),
        Schedule(1e-2, steps),
        metrics=StepLog(folder / "metrics.jsonl"),
        checkpoints=StepLog(folder / "checkpoints.jsonl"),
        **more,
    )


def test_every_step_has_a_row_and_every_checkpoint_a_path(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    with LocalServer() as server, make_run(server.base_url) as run:
        loop = make_loop(run, tmp_path, 5, evaluation=Evaluation(EXAMPLES[:1], 2), report=seen.append)
        loop.train()
        assert seen == loop.metrics.rows
        assert [row["step"] for row in seen] == [1, 2, 3, 4, 5]
        assert [row["epoch"] for row in seen] == [1, 1, 2, 2, 3]
        assert [row["step"] for row in seen if "eval_loss" in row] == [2, 4, 5]
        assert [row["trained_tokens"] for row in seen] == [4] * 5
        assert [row["step"] for row in loop.checkpoints.rows] == [2, 4, 5]
        assert not loop.stopped_early
        # The reported loss is that of the weights before the step.
        expected = min((row["eval_loss"], row["step"]) for row in seen if "eval_loss" in row)
        best = loop.best()
        assert best is not None
        assert best.step == expected[1]


def test_a_checkpoint_of_which_the_log_knows_nothing_is_added(tmp_path: Path) -> None:
    run = recovery.Run(lambda service: None, start=recovery.Checkpoint(4, "tinker://a/weights/b"))  # type: ignore[arg-type, return-value]
    loop = make_loop(run, tmp_path, 5)
    assert loop.checkpoints.rows == [{"step": 4, "path": "tinker://a/weights/b"}]
    assert loop.best() == recovery.Checkpoint(4, "tinker://a/weights/b")


def test_the_next_step_is_sent_before_the_results_of_this_one_are_there(
    server: TinkerServer, tmp_path: Path
) -> None:
    """The results of the first step come only once the second step has been sent."""

    def late(request: Request) -> None:
        if server.requests.to("/optim_step"):
            server.requests.wait_for("/optim_step", 2)

    server.on("/retrieve_future", late)
    run = recovery.Run(
        lambda service: service.create_lora_training_client("tinkex/byte-lm"),
        connect=lambda: tinkex.ServiceClient(config=config(server, wire_format="json")),
        max_restarts=0,
    )
    with run:
        make_loop(run, tmp_path, 4).train()
    assert len(server.requests.to("/optim_step")) == 4


def output(*logprobs: float) -> dict[str, types.TensorData]:
    return {"logprobs": types.TensorData(list(logprobs), "float32")}


def test_the_loss_is_the_mean_over_what_is_learned() -> None:
    examples = [Example(array("i", [1, 2, 3]), b"\0\0\1"), Example(array("i", [1, 2, 3]), b"\1\1\1")]
    assert mean_loss([output(-9.0, -1.0), output(-2.0, -3.0)], examples) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("outputs", "words"),
    [([], "0 outputs for 1 examples"), ([{}], "no logprobs"), ([output(-1.0)], "no logprobs")],
)
def test_answers_without_logprobs_are_an_error(outputs: list[Any], words: str) -> None:
    with pytest.raises(tinkex.TinkerError, match=words):
        mean_loss(outputs, EXAMPLES[:1])


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinkex.finetune.loop.mean_loss", lambda outputs, examples: float("nan"))
    with LocalServer() as server, make_run(server.base_url) as run, pytest.raises(Diverged, match="step 1"):
        make_loop(run, tmp_path, 2).train()


def test_a_run_that_goes_on_knows_what_its_checkpoint_knows(tmp_path: Path) -> None:
    """Rows after the checkpoint are of steps that will be run again; those before may say that it has ended."""
    metrics = StepLog(tmp_path / "metrics.jsonl")
    for step, loss in ((2, 1.0), (4, 2.0), (6, 3.0), (8, 0.5)):
        metrics.append({"step": step, "eval_loss": loss})
        StepLog(tmp_path / "checkpoints.jsonl").append({"step": step, "path": f"tinker://a/weights/{step}"})
    run = recovery.Run(lambda service: None, start=recovery.Checkpoint(6, "tinker://a/weights/6"))  # type: ignore[arg-type, return-value]
    loop = make_loop(run, tmp_path, 20, evaluation=Evaluation(EXAMPLES, 2, patience=2))
    assert [row["step"] for row in loop.metrics.rows] == [2, 4, 6]
    assert [row["step"] for row in loop.checkpoints.rows] == [2, 4, 6]
    loop.train()  # which asks no server
    assert loop.stopped_early
    assert loop.best() == recovery.Checkpoint(2, "tinker://a/weights/2")
