"""``Run``: a training loop that survives its server and its own process.

    from tinkex import recovery, types

    def create(service):
        return service.create_lora_training_client("Qwen/Qwen3-8B", rank=32, seed=0)

    def do_step(training, step):
        return training.forward_backward(batch(step), "cross_entropy"), training.optim_step(adam)

    with recovery.Run(create, journal="run.json", save_every=20) as run:
        run.train(200, do_step, on_step=lambda step, results: print(step, results[0].metrics))
        sampler = run.training.save_weights_and_get_sampling_client()

Every step is in the final weights exactly once. A step whose effect was lost with the server's model is run
again on the model made from the last checkpoint; one that the checkpoint holds never is. So ``do_step`` must
take its data from the number of the step alone, not from an iterator that moves on.
"""

from __future__ import annotations

import collections
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tinkex.errors import (
    APIConnectionError,
    APIStatusError,
    ClientPoisonedError,
    InputError,
    RequestFailedError,
    SessionEndedError,
    TinkerError,
)
from tinkex.http.retry import backoff
from tinkex.service_client import ServiceClient
from tinkex.training_client import TrainingClient
from tinkex.types.checks import tinker_path, whole
from tinkex.types.training import SaveWeightsResponse

logger = logging.getLogger("tinkex")

LONGEST_WAIT = 60.0
"""Seconds between two restarts, however many there were before."""
_GONE = frozenset({404, 410})

DoStep = Callable[[TrainingClient, int], Future[Any] | Iterable[Future[Any]] | None]
OnStep = Callable[[int, list[Any]], None]


@dataclass(frozen=True)
class Checkpoint:
    """A saved state: weights and optimizer after ``step`` steps, at ``path`` (``tinker://...``)."""

    step: int
    path: str


@dataclass(frozen=True)
class _Queued:
    """A step whose requests are on their way, and the saving of the state after it, if that is due."""

    number: int
    futures: list[Future[Any]]
    save: Future[SaveWeightsResponse] | None


class Run:
    """One model's training, from its first step to its last, over any number of servers' and own restarts.

    Entering the ``with`` block opens a service and a model, resumed from the journal's checkpoint if there
    is one, and raises what that raises; leaving it ends the session.

    ``create`` makes the model of a run that has no checkpoint yet, ``connect`` the service: by default that
    of the environment. ``journal`` is a small file, replaced whole, that names the last checkpoint, for one
    process at a time; without it a run outlives its server but not its process. The state is saved every
    ``save_every`` steps and after the last as ``{name}-{step:06d}``. Older checkpoints stay on the server,
    for ``ttl_seconds`` (None: for ever). At most ``in_flight`` steps are queued and not waited for.

    A restart costs a wait that doubles from ``first_wait`` to ``LONGEST_WAIT`` seconds; after
    ``max_restarts`` in a row without a new checkpoint the error that asked for the next is raised.
    """

    service: ServiceClient
    training: TrainingClient
    """The clients in use, while the run is open; after a restart they are others."""

    def __init__(
        self,
        create: Callable[[ServiceClient], TrainingClient],
        *,
        connect: Callable[[], ServiceClient] = ServiceClient,
        journal: str | os.PathLike[str] | None = None,
        name: str = "step",
        save_every: int = 20,
        ttl_seconds: int | None = None,
        in_flight: int = 2,
        max_restarts: int = 10,
        first_wait: float = 1.0,
    ) -> None:
        """Raises ``InputError`` for numbers that cannot be, or a journal that is none."""
        whole("save_every", save_every, at_least=1)
        whole("in_flight", in_flight, at_least=1)
        whole("max_restarts", max_restarts, at_least=0)
        self._create = create
        self._connect = connect
        self._journal = None if journal is None else Path(journal)
        self._name = name
        self._save_every = save_every
        self._ttl_seconds = ttl_seconds
        self._in_flight = in_flight
        self._max_restarts = max_restarts
        self._first_wait = first_wait
        self._in_a_row = 0
        self._open = self._at_checkpoint = False
        self.restarts: int = 0
        """How often this object has resumed so far."""
        self.checkpoint: Checkpoint | None = _read(self._journal) if self._journal else None
        """The last one; None before the first."""

    def __repr__(self) -> str:
        return f"Run(checkpoint={self.checkpoint!r}, restarts={self.restarts})"

    def __enter__(self) -> Run:
        self._resume()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._open:
            self._open = self._at_checkpoint = False
            self.service.__exit__(kind, error, traceback)

    def train(self, steps: int, do_step: DoStep, on_step: OnStep | None = None) -> None:
        """Run the steps up to number ``steps - 1`` that the last checkpoint does not hold yet, and save.

        ``do_step(training, step)`` queues the requests of step ``step`` (from 0), its ``optim_step`` last,
        since a saved state holds no gradients. It returns the futures of all of them, whose failure is the
        step's; or None if it has waited for them itself. ``on_step(step, results)`` is called with their
        results in the order of the steps, and again for a step that had to be run again.

        Resumes after ``ClientPoisonedError``, ``SessionEndedError``, ``APIConnectionError``, a 5xx or 408, work
        that failed by the server's own fault, and after a 404, a 410 or other failed work if the server turns
        out to know the model no more. All else is the step's and passes through, as does a missing checkpoint;
        ``train`` can then be called again, and goes on from the last checkpoint.
        """
        whole("steps", steps, at_least=0)
        while True:
            try:
                if not self._at_checkpoint:
                    self._resume()
                self._at_checkpoint = False
                self._train(steps, do_step, on_step)
                self._at_checkpoint = True
                return
            except Exception as error:
                if not self._lost(error) or self._in_a_row >= self._max_restarts:
                    raise
                self._in_a_row += 1
                self.restarts += 1
                wait = backoff(self._in_a_row, self._first_wait, LONGEST_WAIT)
                logger.warning("resuming from step %d in %.1f s: %s", self._steps_done(), wait, error)
            time.sleep(wait)

    def _train(self, steps: int, do_step: DoStep, on_step: OnStep | None) -> None:
        queued: collections.deque[_Queued] = collections.deque()
        for number in range(self._steps_done(), steps):
            try:
                queued.append(self._queue(number, do_step, last=number + 1 == steps))
            except Exception:
                # What went before may be whole all the same, and a checkpoint among it spares steps.
                while queued:
                    self._finish(queued.popleft(), on_step)
                raise
            if len(queued) == self._in_flight:
                self._finish(queued.popleft(), on_step)
        while queued:
            self._finish(queued.popleft(), on_step)

    def _queue(self, number: int, do_step: DoStep, last: bool) -> _Queued:
        made = do_step(self.training, number)
        futures = [made] if isinstance(made, Future) else list(made or ())
        done = number + 1
        if not last and done % self._save_every:
            return _Queued(number, futures, None)
        # Queued behind the step, so the state is that after it. One of this name can only be of a save whose
        # outcome was never learned, never the journal's, and is replaced.
        name = f"{self._name}-{done:06d}"
        return _Queued(number, futures, self.training.save_state(name, self._ttl_seconds, overwrite=True))

    def _finish(self, step: _Queued, on_step: OnStep | None) -> None:
        """Wait for a step; its checkpoint counts only now that it and all before it are known to be whole."""
        results = [future.result() for future in step.futures]
        if on_step is not None:
            on_step(step.number, results)
        if step.save is not None:
            checkpoint = Checkpoint(step.number + 1, step.save.result().path)
            if self._journal is not None:
                _write(self._journal, checkpoint)
            self.checkpoint = checkpoint
            self._in_a_row = 0

    def _resume(self) -> None:
        """Let go of what was open, and open a service with the model of the last checkpoint, or a new one."""
        if self._open:
            self._open = False
            self.service.close("errored")
        service = self._connect()
        try:
            if self.checkpoint is None:
                self.training = self._create(service)
            else:
                path = self.checkpoint.path
                self.training = service.create_training_client_from_state_with_optimizer(path)
        except BaseException:
            service.close("errored")
            raise
        self.service = service
        self._open = self._at_checkpoint = True

    def _lost(self, error: Exception) -> bool:
        """Whether ``error`` means that the model cannot be used, rather than that the step was wrong."""
        if _says_lost(error):
            return True
        refused = isinstance(error, APIStatusError) and error.status_code in _GONE
        if not self._open or not (refused or isinstance(error, RequestFailedError)):
            return False
        # A step may ask for what does not exist, so only the model's own absence counts.
        try:
            self.training.get_info()
        except TinkerError as answer:
            return _says_lost(answer) or (isinstance(answer, APIStatusError) and answer.status_code in _GONE)
        return False

    def _steps_done(self) -> int:
        return 0 if self.checkpoint is None else self.checkpoint.step


def _says_lost(error: Exception) -> bool:
    if isinstance(error, APIStatusError):
        return error.status_code >= 500 or error.status_code == 408
    if isinstance(error, RequestFailedError):
        return error.category == "server"  # as a server says that stops with work in hand
    return isinstance(error, (APIConnectionError, ClientPoisonedError, SessionEndedError))


def _read(path: Path) -> Checkpoint | None:
    try:
        checkpoint = Checkpoint(**json.loads(path.read_text(encoding="utf-8")))
        whole("step", checkpoint.step, at_least=0)
        tinker_path("path", checkpoint.path)
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise InputError(f"there is no folder {path.parent} for a journal") from None
        return None
    except (TypeError, ValueError) as error:
        raise InputError(f"{path} is not the journal of a run: {error}") from None
    return checkpoint


def _write(path: Path, checkpoint: Checkpoint) -> None:
    """Replace the journal so that a crash at any moment leaves the old one or the new one."""
    number, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(number, "w", encoding="utf-8") as file:
            json.dump(asdict(checkpoint), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
