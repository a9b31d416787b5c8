"""Trackers: the metrics of each step go to whichever package is there, and a run goes on under its id.

``tensorboardX`` is the real package. Those of Weights & Biases, MLflow and TensorBoard are large, so modules that write
down what they are called with stand in for them.
"""

from __future__ import annotations

import sys
import threading
import types
from pathlib import Path
from typing import Any

import pytest

import tinkex
from tinkex.finetune import trackers

ROW = {"step": 3, "loss": 1.5, "eval_loss": 2.0}


class Calls:
    """An object whose every method writes down its call."""

    def __init__(self, said: list[Any], **attributes: Any) -> None:
        self._said = said
        self.__dict__.update(attributes)

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **more: self._said.append((name, args, more))


def test_tensorboard_files_are_written(tmp_path: Path) -> None:
    tracker = trackers.tensorboard(tmp_path, 2)
    assert tracker is not None
    tracker.log(ROW)
    tracker.close()
    [path] = tmp_path.glob("events.out.tfevents.*")
    assert b"eval_loss" in path.read_bytes()


def test_tensorboard_itself_serves_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Any] = []
    files, events, summaries = (types.ModuleType(name) for name in ("files", "events", "summaries"))
    files.EventFileWriter = lambda folder: Calls(said)  # type: ignore[attr-defined]
    events.Event = dict  # type: ignore[attr-defined]
    summaries.Summary = type("Summary", (dict,), {"Value": dict})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.event_file_writer", files)
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", events)
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.summary_pb2", summaries)
    for name in ("tensorboard", "tensorboard.summary", "tensorboard.summary.writer", "tensorboard.compat"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto", types.ModuleType("proto"))
    tracker = trackers.tensorboard(tmp_path, 0)
    assert tracker is not None
    tracker.log(ROW)
    tracker.close()
    (added, (event,), _), (closed, _, _) = said
    assert (added, closed) == ("add_event", "close")
    assert event["step"] == 3
    assert event["summary"]["value"] == [
        {"tag": "loss", "simple_value": 1.5},
        {"tag": "eval_loss", "simple_value": 2.0},
    ]


def test_tensorboard_files_are_written_away_from_the_main_thread_where_ctrl_c_is_raised() -> None:
    class Writer:
        def __init__(self) -> None:
            self.threads: list[str] = []

        def log(self, row: Any) -> None:
            self.threads.append(threading.current_thread().name)
            if row["step"] == 4:
                raise OSError("the disk is full")

        def close(self) -> None:
            self.threads.append(threading.current_thread().name)

    writer = Writer()
    tracker = trackers.TensorBoard(writer)
    tracker.log(ROW)
    tracker.close()
    assert writer.threads == ["tinkex-tensorboard"] * 2

    failing = trackers.TensorBoard(Writer())
    failing.log({**ROW, "step": 4})
    failing.close()
    with pytest.raises(OSError, match="full"):
        failing.log(ROW)


def test_without_a_package_there_are_no_tensorboard_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    assert trackers.tensorboard(tmp_path, 0) is None


def test_weights_and_biases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Any] = []
    wandb = types.ModuleType("wandb")

    def init(**options: Any) -> Calls:
        said.append(options)
        return Calls(said, id=options["id"] or "new")

    wandb.init = init  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    first = trackers.WandB("sums", {"seed": 1}, tmp_path, None)
    assert first.run_id == "new"
    again = trackers.WandB("sums", {"seed": 1}, tmp_path, first.run_id)
    assert said[1]["id"] == "new"
    assert said[1]["resume"] == "allow"
    again.log(ROW)
    again.close()
    assert said[2:] == [("log", ({"loss": 1.5, "eval_loss": 2.0},), {"step": 3}), ("finish", (), {})]


def test_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Any] = []
    mlflow: Any = Calls(said)

    def start_run(run_id: str | None, run_name: str | None) -> Any:
        said.append((run_id, run_name))
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=run_id or "new"))

    mlflow.start_run = start_run
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    assert trackers.MLflow("sums", {"seed": 1}, None).run_id == "new"
    again = trackers.MLflow("sums", {"seed": 1}, "new")
    again.log(ROW)
    again.close()
    assert said == [
        (None, "sums"),
        ("log_params", ({"seed": 1},), {}),
        ("new", None),
        ("log_metrics", ({"loss": 1.5, "eval_loss": 2.0},), {"step": 3}),
        ("end_run", (), {}),
    ]


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(tinkex.InputError, match=f"pip install {name}"):
        trackers.WandB("a", {}, tmp_path, None) if name == "wandb" else trackers.MLflow("a", {}, None)
