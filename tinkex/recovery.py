"""A training loop that resumes from its last checkpoint after a failure of the server or of its own process.

Example::

    from tinkex import recovery

    def connect():
        return tinkex.ServiceClient(base_url="local://")

    def create(service):
        return service.create_lora_training_client("tinkex/byte-lm", seed=0)

    def do_step(training, step):
        prompt = types.ModelInput.from_ints([step, step + 1])
        datum = types.Datum(prompt, {"target_tokens": [step + 1, step + 2], "weights": [1.0, 1.0]})
        return training.forward_backward([datum], "cross_entropy"), training.optim_step()

    with recovery.Run(create, connect=connect, journal="run.json", save_every=2) as run:
        run.train(4, do_step, on_step=lambda step, results: print(step, results[0].metrics))
        sampler = run.training.save_weights_and_get_sampling_client()

Every step counts in the final weights exactly once. After a failure a new model is made from the last
checkpoint, and only the steps that the checkpoint does not contain are run again. For this reason ``do_step``
must derive its data from the number of the step alone, and not read it from an iterator.
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
from typing import Any, TypeVar

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

T = TypeVar("T")

LONGEST_WAIT = 60.0
"""The longest wait before a restart, in seconds."""
_GONE = frozenset({404, 410})
"""Statuses that may mean that the server has lost the model."""

DoStep = Callable[[TrainingClient, int], Future[Any] | Iterable[Future[Any]] | None]
OnStep = Callable[[int, list[Any]], None]
OnCheckpoint = Callable[["Checkpoint"], None]


@dataclass(frozen=True)
class Checkpoint:
    """A saved state: the weights and the optimizer after ``step`` steps, at ``path`` (``tinker://...``)."""

    step: int
    path: str


@dataclass(frozen=True)
class _Queued:
    """A step whose requests have been queued, with the future of the checkpoint after it, if one is due."""

    number: int
    futures: list[Future[Any]]
    save: Future[SaveWeightsResponse] | None


class Run:
    """The training of one model, from its first step to its last, over any number of restarts.

    A run is used in a ``with`` block. Entering it connects to the service and makes the model, from the last
    checkpoint if there is one, and raises any error in doing so. Leaving it ends the session.

    ``create`` makes the model of a run that has no checkpoint yet. ``connect`` makes the service client; by
    default ``ServiceClient()`` does. ``journal`` is the path of a small file that records the last
    checkpoint. Only one process may use it at a time. Without a journal a run survives a failure of the
    server, but not the end of its own process. A run without a checkpoint of its own begins with ``start``, if that
    is given, and not with a new model.

    The state is saved every ``save_every`` steps and after the last step, under the name
    ``{name}-{step:06d}``. The server keeps each checkpoint for ``ttl_seconds``, or for ever if that is None.
    At most ``in_flight`` steps are queued before the first of them is waited for.

    Before a restart the run waits, at first ``first_wait`` seconds and each time twice as long, up to
    ``LONGEST_WAIT``. After ``max_restarts`` restarts without a new checkpoint the next error is raised.
    """

    service: ServiceClient
    """The service client in use, while the run is open. A restart replaces it."""
    training: TrainingClient
    """The training client in use, while the run is open. A restart replaces it."""

    def __init__(
        self,
        create: Callable[[ServiceClient], TrainingClient],
        *,
        connect: Callable[[], ServiceClient] = ServiceClient,
        journal: str | os.PathLike[str] | None = None,
        start: Checkpoint | None = None,
        name: str = "step",
        save_every: int = 20,
        ttl_seconds: int | None = None,
        in_flight: int = 2,
        max_restarts: int = 10,
        first_wait: float = 1.0,
    ) -> None:
        """Read the journal, if there is one; connect to nothing yet.

        Raises ``InputError`` if a number is out of range, or if ``journal`` is a file of another kind.
        """
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
        """The number of restarts so far."""
        self.checkpoint: Checkpoint | None = (_read(self._journal) if self._journal else None) or start
        """The last checkpoint, or None if there is none yet."""

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

    def train(
        self,
        steps: int,
        do_step: DoStep,
        on_step: OnStep | None = None,
        on_checkpoint: OnCheckpoint | None = None,
    ) -> None:
        """Run the steps that the last checkpoint does not contain, up to number ``steps - 1``, and save.

        ``do_step(training, step)`` queues the requests of step number ``step``, counted from 0. Its
        ``optim_step`` must come last, because a saved state contains no gradients. It returns the futures of
        the requests, or None if it has waited for them itself. ``on_step(step, results)`` is called with the
        results of these futures, in the order of the steps. It is called again for a step that is run again.
        ``on_checkpoint(checkpoint)`` is called after ``on_step``, once a checkpoint is in the journal. What these
        functions raise ends the run, and is raised.

        The run restarts after ``ClientPoisonedError``, ``SessionEndedError``, ``APIConnectionError``, a 5xx or
        408, and a ``RequestFailedError`` that the server caused. It also restarts after a 404, a 410 or another
        ``RequestFailedError`` if the server no longer knows the model. All other errors are raised, including
        that of a checkpoint that is missing. ``train`` can then be called again, and continues from the last
        checkpoint.
        """
        whole("steps", steps, at_least=0)
        self._persist(lambda: self._train(steps, do_step, on_step, on_checkpoint))

    def call(self, action: Callable[[TrainingClient], T]) -> T:
        """Return ``action(training)``, which must not train; restart and call it again where ``train`` restarts.

        Example::

            from tinkex import recovery

            def create(service):
                return service.create_lora_training_client("tinkex/byte-lm", seed=0)

            with recovery.Run(create, connect=lambda: tinkex.ServiceClient(base_url="local://")) as run:
                path = run.call(lambda training: training.save_weights_for_sampler("untrained").result().path)
        """
        return self._persist(lambda: action(self.training))

    def _persist(self, work: Callable[[], T]) -> T:
        """Return the result of ``work``, which starts and ends at a checkpoint, over any number of restarts."""
        while True:
            try:
                if not self._at_checkpoint:
                    self._resume()
                self._at_checkpoint = False
                result = work()
                self._at_checkpoint = True
                return result
            except Exception as error:
                if not self._lost(error) or self._in_a_row >= self._max_restarts:
                    raise
                self._in_a_row += 1
                self.restarts += 1
                wait = backoff(self._in_a_row, self._first_wait, LONGEST_WAIT)
                logger.warning("resuming from step %d in %.1f s: %s", self._steps_done(), wait, error)
            time.sleep(wait)

    def _train(
        self, steps: int, do_step: DoStep, on_step: OnStep | None, on_checkpoint: OnCheckpoint | None
    ) -> None:
        queued: collections.deque[_Queued] = collections.deque()
        for number in range(self._steps_done(), steps):
            try:
                queued.append(self._queue(number, do_step, last=number + 1 == steps))
            except Exception:
                # The steps before may have succeeded. A checkpoint among them spares repeating them.
                while queued:
                    self._finish(queued.popleft(), on_step, on_checkpoint)
                raise
            if len(queued) == self._in_flight:
                self._finish(queued.popleft(), on_step, on_checkpoint)
        while queued:
            self._finish(queued.popleft(), on_step, on_checkpoint)

    def _queue(self, number: int, do_step: DoStep, *, last: bool) -> _Queued:
        made = do_step(self.training, number)
        futures = [made] if isinstance(made, Future) else list(made or ())
        done = number + 1
        if not last and done % self._save_every:
            return _Queued(number, futures, None)
        # The save is queued behind the step, so it contains the step. A checkpoint that already has this name
        # comes from a save whose outcome was never learned. The journal does not name it, so it is replaced.
        name = f"{self._name}-{done:06d}"
        return _Queued(number, futures, self.training.save_state(name, self._ttl_seconds, overwrite=True))

    def _finish(self, step: _Queued, on_step: OnStep | None, on_checkpoint: OnCheckpoint | None) -> None:
        """Wait for a step, and then for its checkpoint, which counts only if all steps before succeeded."""
        results = [future.result() for future in step.futures]
        if on_step is not None:
            on_step(step.number, results)
        if step.save is not None:
            checkpoint = Checkpoint(step.number + 1, step.save.result().path)
            if self._journal is not None:
                _write(self._journal, checkpoint)
            self.checkpoint = checkpoint
            self._in_a_row = 0
            if on_checkpoint is not None:
                on_checkpoint(checkpoint)

    def _resume(self) -> None:
        """Close the present service, then open a new one and make its model, from the last checkpoint if any."""
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
        """Return whether ``error`` means that the model is lost, and not that the step was wrong."""
        if _says_lost(error):
            return True
        refused = isinstance(error, APIStatusError) and error.status_code in _GONE
        if not self._open or not (refused or isinstance(error, RequestFailedError)):
            return False
        # A step may itself ask for something that does not exist, so ask whether the model still exists.
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
        return error.category == "server"  # a server that shuts down reports its unfinished work so
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
    """Replace the journal atomically: a crash at any moment leaves the old file or the new one."""
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
