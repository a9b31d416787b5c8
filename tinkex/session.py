"""What a ``ServiceClient`` and its children share: one session on one server."""

from __future__ import annotations

import itertools
import os
import threading
import time
import weakref

from tinkex.api import service as api
from tinkex.config import Config
from tinkex.errors import ClientClosedError, SessionEndedError, TinkerError
from tinkex.executor import DaemonExecutor
from tinkex.forks import renew_after_fork
from tinkex.handshake import connect
from tinkex.http.transport import Transport
from tinkex.limits import ByteBudget, pause_of
from tinkex.session_manager import SessionManager
from tinkex.types.server import DynamicFlags, ServerFlags

WORK_THREADS = 1024
"""Bound of the threads that create clients, send training requests and poll for their results."""
MIN_REFRESH = 10.0


class AttachedSession:
    """The use of a session that another process keeps alive: a transport, the server's flags, limits, threads."""

    def __init__(self, config: Config, session_id: str) -> None:
        transport, flags = connect(config)
        self._attach(config, transport, flags, session_id)

    def _attach(self, config: Config, transport: Transport, flags: ServerFlags, session_id: str) -> None:
        self.config = config
        self.transport = transport
        self.flags = flags
        self.id = session_id
        self.executor = DaemonExecutor(WORK_THREADS, "work")
        self.sampling_executor = DaemonExecutor(flags.sample_max_concurrent_requests, "sample")
        self.pause = pause_of(transport.identity)
        self.dispatch_budget = ByteBudget(flags.sample_dispatch_bytes_semaphore_size)
        self.response_budget = ByteBudget(flags.inflight_response_bytes_semaphore_size)
        self._dynamic: tuple[float, DynamicFlags] | None = None

    def check(self) -> None:
        """Raise ``SessionEndedError`` or ``ClientClosedError`` unless the session can be used."""

    def dynamic_flags(self) -> DynamicFlags:
        """The server's flags that may change, at most ``refresh_interval_sec`` old; a failure keeps the last ones."""
        known = self._dynamic
        now = time.monotonic()
        if known is None or now > known[0]:
            flags = known[1] if known else DynamicFlags()
            # Set first, so that other threads go on with what is known while this one asks.
            self._dynamic = (now + MIN_REFRESH, flags)
            try:
                flags = api.dynamic_config(self.transport)
            except TinkerError:
                return flags
            self._dynamic = (now + max(flags.refresh_interval_sec, MIN_REFRESH), flags)
            return flags
        return known[1]


class Session(AttachedSession):
    """A live session: what an attached one has, its counters, its heartbeat, and how it ended.

    Held by the service and by every child, so it beats for as long as one of them is in use.
    """

    def __init__(self, config: Config, manager: SessionManager) -> None:
        self.manager = manager
        transport, flags = connect(config)
        try:
            session_id = manager.start_session(config, transport, self._on_end)
        except BaseException:
            transport.close()
            raise
        self._attach(config, transport, flags, session_id)
        self._ended: TinkerError | None = None
        self._owner = os.getpid()
        self._inherited = False
        self._model_numbers = itertools.count()
        self._sampler_numbers = itertools.count()
        self._lock = threading.Lock()
        # Once nobody uses the session any more it beats no more. What runs then may not block or hold self.
        executors = (self.executor, self.sampling_executor)
        self._finalizer = weakref.finalize(self, _let_go, manager, self.id, self.transport, executors)
        self._finalizer.atexit = False
        renew_after_fork(self)

    def check(self) -> None:
        """Raise ``SessionEndedError`` or ``ClientClosedError`` unless the session can be used."""
        if self._inherited:
            self._inherited = False
            self.manager.resume(self.id)
        if self._ended is not None:
            raise self._ended

    def made_by(self, pid: int) -> bool:
        """Whether that process started the session, and so is the one to finish it."""
        return self._owner == pid

    def next_model_number(self) -> int:
        """``model_seq_id``: 0, 1, 2 … over all threads."""
        with self._lock:
            return next(self._model_numbers)

    def next_sampler_number(self) -> int:
        """``sampling_session_seq_id``: 0, 1, 2 … over all threads."""
        with self._lock:
            return next(self._sampler_numbers)

    def finish(self, status: str, detail: str | None, seconds: float, tries: int = 2) -> None:
        """End the session: no more beats, told to the server within ``seconds``, connections closed.

        The server is told only by the process that made the session. Idempotent.
        """
        with self._lock:
            if isinstance(self._ended, ClientClosedError):
                return
            was_open = self._ended is None
            self._ended = ClientClosedError(f"the client of session {self.id} was closed")
        end = time.monotonic() + seconds
        self.manager.stop_session(self.id, timeout=seconds / 4)
        try:
            if was_open and self.made_by(os.getpid()):
                api.finish_session(self.transport, self.id, status, detail, seconds / 4, tries)
        except TinkerError:
            pass  # the server drops it when its beats stop
        finally:
            self.transport.close()
            for executor in (self.executor, self.sampling_executor):
                executor.shutdown(cancel_futures=True, timeout=max(0.1, end - time.monotonic()))
            self._finalizer.detach()

    def _on_end(self, error: SessionEndedError) -> None:
        with self._lock:
            if self._ended is None:
                self._ended = error

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        self._inherited = True


def _let_go(
    manager: SessionManager, session_id: str, transport: Transport, executors: tuple[DaemonExecutor, ...]
) -> None:
    manager.forget(session_id)
    transport.close()
    for executor in executors:
        executor.shutdown(wait=False)
