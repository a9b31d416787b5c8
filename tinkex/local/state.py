"""What one server knows: its sessions, models and samplers, its checkpoints, and the work that is queued."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from tinkex.local.checkpoints.store import CheckpointStore
from tinkex.local.errors import Gone, NotFound
from tinkex.local.links import Links
from tinkex.local.model.blas import hold_single_thread, release_single_thread
from tinkex.local.model.crew import Crew
from tinkex.local.model.lora import LoraSpec
from tinkex.local.model.network import AdaptedModel
from tinkex.local.model.offered import BYTE_LM, OfferedModel
from tinkex.local.model.training import Snapshot, TrainingModel
from tinkex.local.sessions import Model, Sampler, Session, forgotten_saves, now
from tinkex.local.work.completions import CompletionLog
from tinkex.local.work.ordered_queue import OrderedQueue
from tinkex.local.work.promises import Promises
from tinkex.local.work.workers import Workers

_T = TypeVar("_T")
_JOIN = 0.3  # seconds that a closing state waits for each of its threads


class State:
    """The sessions, models, samplers, checkpoints and queues of a server. Any thread may use it.

    The base models on offer are ``offered``. ``strict`` is whether requests are checked by ``strict.py``.
    Checkpoints are kept in ``directory``, or in memory without one. A session that sends no heartbeat for
    ``session_timeout`` seconds is ended. A long poll is held for ``poll_timeout`` seconds.
    """

    def __init__(
        self,
        directory: Path | None,
        session_timeout: float,
        poll_timeout: float,
        offered: Sequence[OfferedModel] = (BYTE_LM,),
        *,
        strict: bool = False,
    ) -> None:
        self.poll_timeout = poll_timeout
        self.strict = strict
        self.offered: Mapping[str, OfferedModel] = {model.name: model for model in offered}
        self.checkpoints: CheckpointStore = CheckpointStore(directory)
        self.links: Links = Links()
        self.promises: Promises = Promises()
        self.closing: threading.Event = threading.Event()
        self._lock = threading.Lock()
        self._session_timeout = session_timeout
        self._sessions: dict[str, Session] = {}
        self._models: dict[str, Model] = {}
        self._samplers: dict[str, Sampler] = {}
        hold_single_thread()
        self._crew = Crew()
        self._training_workers = Workers(2, "train")
        self.sampling_workers: Workers = Workers(2, "sample")
        self.adapted: Callable[[Snapshot], AdaptedModel] = lru_cache(maxsize=16)(_adapt)
        """The model that computes for a snapshot. The latest are kept, since making one takes longer than a token."""
        self._reaper = threading.Thread(target=self._reap, name="tinkex-local-reaper", daemon=True)
        self._reaper.start()

    # ---- sessions ----

    def add_session(self, session: Session) -> None:
        """Add a new session."""
        with self._lock:
            self._sessions[session.id] = session

    def session(self, session_id: str) -> Session:
        """Return a session and note its use; raises ``NotFound`` if unknown, ``Gone`` if it has ended."""
        session = self.any_session(session_id)
        _check_lives(session)
        session.last_beat = time.monotonic()
        return session

    def any_session(self, session_id: str) -> Session:
        """A session, which may have ended; raises ``NotFound`` if it is unknown."""
        return self._find(self._sessions, session_id, f"session {session_id} is unknown")

    def sessions(self) -> list[Session]:
        """All sessions, the newest first."""
        with self._lock:
            sessions = list(self._sessions.values())
        return sorted(sessions, key=lambda session: session.created, reverse=True)

    def end_session(self, session: Session, status: dict[str, Any]) -> list[str]:
        """End a session and free what belongs to it; return the warnings of a strict server.

        Does nothing if the session has ended already.
        """
        with self._lock:
            if session.ended is not None:
                return []
            session.ended = status
            models = [self._models.pop(run) for run in session.runs if run in self._models]
            samplers = [self._samplers.pop(each) for each in session.samplers if each in self._samplers]
        for model in models:
            model.queue.close(f"session {session.id} has ended")
        for sampler in samplers:
            self._close_sampler(sampler)
        return forgotten_saves(models) if self.strict else []

    def _reap(self) -> None:
        while not self.closing.wait(min(self._session_timeout / 4, 5.0)):
            silent_since = time.monotonic() - self._session_timeout
            for session in self.sessions():
                if session.ended is None and session.last_beat < silent_since:
                    self.end_session(session, {"type": "cancelled", "detail": "its heartbeats stopped"})

    # ---- models ----

    def base_model(self, name: str) -> OfferedModel:
        """Return a base model; raises ``NotFound``, which names those on offer, if there is none of this name."""
        found = self.offered.get(name)
        if found is None:
            raise NotFound(f"base_model: {name!r} is unknown; this server has {', '.join(self.offered)}")
        return found

    def new_training(self, base: OfferedModel, spec: LoraSpec) -> TrainingModel:
        """Return new adapters on a base model; raises ``InvalidInput`` if ``spec`` trains nothing."""
        return TrainingModel(base.base, spec, self._crew.map)

    def add_model(
        self,
        session: Session,
        run: str,
        base: OfferedModel,
        training: TrainingModel,
        user_metadata: dict[str, Any] | None,
    ) -> Model:
        """Add a model of ``session`` under the id ``run``; raises ``Gone`` if the session has ended."""
        queue = OrderedQueue(self._training_workers, self.promises, run)
        model = Model(run, session, base, training, queue, user_metadata)
        with self._lock:
            _check_lives(session)
            self._models[run] = model
            session.runs.append(run)
        return model

    def add_copy(self, session: Session, run: str) -> None:
        """Count ``run``, which holds a copy of a checkpoint, among those of ``session``."""
        with self._lock:
            session.runs.append(run)

    def model(self, model_id: str) -> Model:
        """Return a model and note its use; raises ``NotFound`` if there is none of this id."""
        missing = f"model {model_id} is unknown, unloaded, or its session has ended"
        model = self._find(self._models, model_id, missing)
        model.last_request = now()
        model.session.last_beat = time.monotonic()
        return model

    def models(self) -> Mapping[str, Model]:
        """All models by id, as they are now."""
        with self._lock:
            return dict(self._models)

    def remove_model(self, model: Model) -> list[str]:
        """Free a model; the requests that wait for it fail. Return the warnings of a strict server."""
        with self._lock:
            known = self._models.pop(model.id, None)
        model.queue.close(f"model {model.id} was unloaded")
        return forgotten_saves([model]) if self.strict and known is not None else []

    # ---- samplers ----

    def add_sampler(
        self, session: Session, base: OfferedModel, snapshot: Snapshot, model_path: str | None
    ) -> Sampler:
        """A new sampler of ``session``; raises ``Gone`` if the session has ended."""
        sampler = Sampler(f"{session.id}:sample:{secrets.token_hex(6)}", session, base, snapshot, model_path)
        with self._lock:
            _check_lives(session)
            self._samplers[sampler.id] = sampler
            session.samplers.append(sampler.id)
        return sampler

    def sampler(self, sampler_id: str) -> Sampler:
        """Return a sampler and note its use; raises ``NotFound`` if there is none of this id."""
        missing = f"sampling session {sampler_id} is unknown, or its session has ended"
        sampler = self._find(self._samplers, sampler_id, missing)
        sampler.session.last_beat = time.monotonic()
        return sampler

    def join_sampler(self, sampler: Sampler) -> int:
        """A number for one more client of ``sampler``."""
        with self._lock:
            sampler.clients += 1
            return sampler.clients

    def sample_number(self, sampler: Sampler, number: int | None) -> int:
        """The number of a sample: ``number``, or for None the one after the highest so far."""
        with self._lock:
            number = sampler.highest + 1 if number is None else number
            sampler.highest = max(sampler.highest, number)
            return number

    def completions(self, sampler: Sampler, client: int) -> CompletionLog:
        """Return the log of the finished samples of one client of ``sampler``."""
        with self._lock:
            log = sampler.logs.setdefault(client, CompletionLog())
            over = sampler.closed or self.closing.is_set()
        if over:
            log.close()
        return log

    def _close_sampler(self, sampler: Sampler) -> None:
        with self._lock:
            sampler.closed = True
            logs = list(sampler.logs.values())
        for log in logs:
            log.close()

    def _find(self, things: Mapping[str, _T], thing_id: str, missing: str) -> _T:
        with self._lock:
            thing = things.get(thing_id)
        if thing is None:
            raise NotFound(missing)
        return thing

    def close(self) -> list[str]:
        """Wake every long poll and end every thread; return the warnings of a strict server."""
        self.closing.set()
        self.promises.fail_pending("the server is stopping")
        with self._lock:
            samplers = list(self._samplers.values())
        for sampler in samplers:
            self._close_sampler(sampler)
        self._training_workers.stop(_JOIN)
        self.sampling_workers.stop(_JOIN)
        self._crew.stop(_JOIN)
        self._reaper.join(_JOIN)
        release_single_thread()
        return forgotten_saves(self.models().values()) if self.strict else []


def _adapt(snapshot: Snapshot) -> AdaptedModel:
    return AdaptedModel(snapshot.base, snapshot.weights, snapshot.spec)


def _check_lives(session: Session) -> None:
    if session.ended is not None:
        raise Gone(f"session {session.id} has ended: {session.ended['type']}")
