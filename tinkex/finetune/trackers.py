"""Sends metrics to TensorBoard files, Weights & Biases and MLflow. Each is imported only when it is used."""

from __future__ import annotations

import importlib
import queue
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from tinkex.errors import InputError

CLOSE_SECONDS = 10.0
"""How long closing waits for the last metrics to be written."""
_NOT_METRICS = ("step",)


class Tracker(Protocol):
    """Something that keeps metrics. A step that is run again is logged again."""

    def log(self, row: Mapping[str, Any]) -> None:
        """Keep the metrics of one step, ``row["step"]``."""

    def close(self) -> None:
        """Write out what is left."""


def metrics(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a row, without the step."""
    return {name: float(value) for name, value in row.items() if name not in _NOT_METRICS}


def tensorboard(folder: Path, resumed_at: int) -> Tracker | None:
    """Return a writer of TensorBoard files in ``folder``, or None if no package for it is installed.

    TensorBoard hides what an earlier process wrote for the steps after ``resumed_at``.
    """
    try:
        writer = importlib.import_module("tensorboardX").SummaryWriter
    except ImportError:
        try:
            return TensorBoard(_EventFiles(folder))
        except ImportError:
            return None
    return TensorBoard(_SummaryWriter(writer(str(folder), purge_step=resumed_at + 1)))


class TensorBoard:
    """A writer of TensorBoard files, which is used on a thread of its own.

    Its packages have queues with locks. Ctrl-C raises its error in the main thread, also where a lock has just been
    acquired; the lock would then be held for ever, and the program would not end.
    """

    def __init__(self, writer: Tracker) -> None:
        self._writer = writer
        self._rows: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._work, name="tinkex-tensorboard", daemon=True)
        self._thread.start()

    def log(self, row: Mapping[str, Any]) -> None:
        """Keep the metrics of one step. Raises the error of an earlier step, if there was one."""
        if self._error is not None:
            raise self._error
        self._rows.put(row)

    def close(self) -> None:
        """Write out what is left, within ``CLOSE_SECONDS``."""
        self._rows.put(None)
        self._thread.join(CLOSE_SECONDS)

    def _work(self) -> None:
        try:
            for row in iter(self._rows.get, None):
                self._writer.log(row)
            self._writer.close()
        except Exception as error:  # raised by the next call of ``log``
            self._error = error


class _SummaryWriter:
    """The writer of ``tensorboardX``."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def log(self, row: Mapping[str, Any]) -> None:
        for name, value in metrics(row).items():
            self._writer.add_scalar(name, value, row["step"])

    def close(self) -> None:
        self._writer.close()


class _EventFiles:
    """The writer of the package ``tensorboard``, which needs no torch."""

    def __init__(self, folder: Path) -> None:
        files = importlib.import_module("tensorboard.summary.writer.event_file_writer")
        self._event: Any = importlib.import_module("tensorboard.compat.proto.event_pb2").Event
        self._summary: Any = importlib.import_module("tensorboard.compat.proto.summary_pb2").Summary
        self._writer: Any = files.EventFileWriter(str(folder))

    def log(self, row: Mapping[str, Any]) -> None:
        found = [self._summary.Value(tag=name, simple_value=value) for name, value in metrics(row).items()]
        event = self._event(wall_time=time.time(), step=row["step"], summary=self._summary(value=found))
        self._writer.add_event(event)

    def close(self) -> None:
        self._writer.close()


class WandB:
    """A run of Weights & Biases. Its project and server are those of the ``WANDB_…`` environment variables."""

    def __init__(self, name: str, settings: Mapping[str, Any], folder: Path, run_id: str | None) -> None:
        """Start the run, or go on with ``run_id``. Raises ``InputError`` without the package."""
        try:
            self._wandb: Any = importlib.import_module("wandb")
        except ImportError:
            raise InputError("--wandb needs the package wandb: pip install wandb") from None
        self._run: Any = self._wandb.init(
            name=name, config=dict(settings), dir=str(folder), id=run_id, resume="allow"
        )
        self.run_id: str = str(self._run.id)

    def log(self, row: Mapping[str, Any]) -> None:
        """Keep the metrics of one step."""
        self._run.log(metrics(row), step=row["step"])

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


class MLflow:
    """A run of MLflow. Its server and experiment are those of the ``MLFLOW_…`` environment variables."""

    def __init__(self, name: str, settings: Mapping[str, Any], run_id: str | None) -> None:
        """Start the run, or go on with ``run_id``. Raises ``InputError`` without the package."""
        try:
            self._mlflow: Any = importlib.import_module("mlflow")
        except ImportError:
            raise InputError("--mlflow needs the package mlflow: pip install mlflow") from None
        run: Any = self._mlflow.start_run(run_id=run_id, run_name=None if run_id else name)
        self.run_id: str = str(run.info.run_id)
        if run_id is None:
            self._mlflow.log_params(dict(settings))

    def log(self, row: Mapping[str, Any]) -> None:
        """Keep the metrics of one step."""
        self._mlflow.log_metrics(metrics(row), step=row["step"])

    def close(self) -> None:
        """Finish the run."""
        self._mlflow.end_run()
