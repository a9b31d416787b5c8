"""The session on a server that a ``ServiceClient`` and the clients it makes share."""

from __future__ import annotations

import _thread
import contextlib
import itertools
import os
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from tinkex.api import service as api
from tinkex.api.connect import connect
from tinkex.concurrency.at_fork import renew_after_fork
from tinkex.concurrency.byte_budget import ByteBudget
from tinkex.concurrency.executor import DaemonExecutor
from tinkex.concurrency.futures import APIFuture
from tinkex.concurrency.lifetime import Lifetime
from tinkex.concurrency.living import Living
from tinkex.concurrency.rate_limit_pause import Pause, pause_of
from tinkex.concurrency.tally import Tally, process_tally
from tinkex.config import Config
from tinkex.errors import ClientClosedError, SessionEndedError, TinkerError
from tinkex.http.transport import Transport
from tinkex.polling.result import ResultPoller
from tinkex.session import process_end
from tinkex.session.process_end import Status
from tinkex.session.telemetry import Telemetry
from tinkex.session_manager import SessionManager
from tinkex.types.flags import DynamicFlags, ServerFlags

if TYPE_CHECKING:
    from tinkex.losses.traced import LossHandle

T = TypeVar("T")

WORK_THREADS = 1024
"""The most threads of a session that create clients, send training requests and poll for their results."""
MIN_REFRESH = 10.0
"""The dynamic flags are requested at most once in so many seconds."""
LAST_REPORT = 1.0
"""The end of a session waits at most so many seconds for its last telemetry."""
FORK_RANGE = 1_000_000
"""A forked child numbers its models, samplers and losses from its process id times this number."""


class AttachedSession:
    """A session that another process keeps alive, as this process uses it: a transport, flags, limits, threads."""

    telemetry: Telemetry | None = None
    """None, because the process that keeps the session alive sends its telemetry."""

    def __init__(self, config: Config, session_id: str) -> None:
        self.lifetime: Lifetime = Lifetime()
        transport, flags = connect(config)
        self._attach(config, transport, flags, session_id)

    def _attach(self, config: Config, transport: Transport, flags: ServerFlags, session_id: str) -> None:
        self.config = config
        self.transport = transport
        self.flags = flags
        self.id = session_id
        self._executors: Living[DaemonExecutor] = Living()
        self.executor: DaemonExecutor = self.start_executor(WORK_THREADS, "work")
        samples = max(1, flags.sample_max_concurrent_requests)
        self.sampling_executor: DaemonExecutor = self.start_executor(samples, "sample")
        self.pause: Pause = pause_of(transport.identity)
        self.dispatch_budget: ByteBudget = ByteBudget(flags.sample_dispatch_bytes_semaphore_size)
        self.response_budget: ByteBudget = ByteBudget(flags.inflight_response_bytes_semaphore_size)
        self.poller: ResultPoller = ResultPoller(transport, flags)
        self.usage: Tally = Tally(process_tally)
        self._dynamic: tuple[float, DynamicFlags] | None = None

    def check(self) -> None:
        """Raise ``SessionEndedError`` or ``ClientClosedError`` unless the session can be used."""
        self.lifetime.check()

    def get_session_id(self) -> str:
        """Return the id of the session on the server."""
        return self.id

    def start(self, work: Callable[[], T]) -> APIFuture[T]:
        """Run ``work`` on a thread of the session; return its future. Raises the errors of ``check``."""
        self.check()
        future: APIFuture[T] = APIFuture("the answer", self.transport.trouble)
        self.executor.run_or_do(partial(future.fulfil, work))
        return future

    def start_executor(self, max_workers: int, name: str) -> DaemonExecutor:
        """Return a new executor, which is shut down with the session."""
        executor = DaemonExecutor(max_workers, name)
        self._executors.add(executor)
        return executor

    def dynamic_flags(self) -> DynamicFlags:
        """Return the dynamic flags, at most ``refresh_interval_sec`` old, or the last ones after a failure."""
        known = self._dynamic
        now = time.monotonic()
        if known is None or now > known[0]:
            flags = known[1] if known else DynamicFlags()
            # The time is set before the request, so that other threads use the known flags meanwhile.
            self._dynamic = (now + MIN_REFRESH, flags)
            try:
                flags = api.dynamic_config(self.transport)
            except TinkerError:
                return flags
            self._dynamic = (now + max(flags.refresh_interval_sec, MIN_REFRESH), flags)
            return flags
        return known[1]


class Session(AttachedSession):
    """A session that this process keeps alive: an attached session with counters, a heartbeat, and an end.

    The service client and the clients that it makes refer to it, so it is kept alive while one of them is in use.
    If it is still open when the process ends, ``process_end`` ends it.
    """

    def __init__(self, config: Config, manager: SessionManager) -> None:
        self.manager = manager
        # This comes first, since a heartbeat may end the session before this method returns.
        self.lifetime: Lifetime = Lifetime()
        self._lock = threading.Lock()
        transport, flags = connect(config)
        try:
            session_id = manager.start_session(config, transport, self._on_end)
        except BaseException:
            transport.close()
            raise
        self._attach(config, transport, flags, session_id)
        if config.telemetry and not config.is_local:
            self.telemetry: Telemetry | None = Telemetry(transport, session_id)
            self.telemetry.session_started()
        self._owner = os.getpid()
        self._model_numbers = itertools.count()
        self._sampler_numbers = itertools.count()
        self._loss_numbers = itertools.count()
        self.losses: dict[str, LossHandle] = {}
        """The custom losses of the session, by their keys."""
        # The heartbeat stops when nobody uses the session any more. The finalizer must not refer to self.
        self._finalizer = weakref.finalize(
            self, _let_go_aside, manager, self.id, self.transport, self._executors, self.telemetry
        )
        self._finalizer.atexit = False
        renew_after_fork(self)
        process_end.end_with_process(self, on_sigterm=config.end_session_on_sigterm)

    def made_by(self, pid: int) -> bool:
        """Return whether the process ``pid`` started the session. Only that process ends it on the server."""
        return self._owner == pid

    def next_model_number(self) -> int:
        """Return the next ``model_seq_id``: 0, 1, 2 and so on, over all threads."""
        with self._lock:
            return next(self._model_numbers)

    def next_sampler_number(self) -> int:
        """Return the next ``sampling_session_seq_id``: 0, 1, 2 and so on, over all threads."""
        with self._lock:
            return next(self._sampler_numbers)

    def next_loss_number(self) -> int:
        """Return the next ``custom_loss_seq_id``: 0, 1, 2 and so on, over all threads."""
        with self._lock:
            return next(self._loss_numbers)

    def finish(self, status: Status, detail: str | None, seconds: float, tries: int = 2) -> None:
        """End the session within ``seconds``: stop the heartbeat, tell the server, close connections, join threads.

        Only the process that started the session tells the server. A second call has no effect.
        """
        with self._lock:
            if self.lifetime.is_closed:
                return
            was_open = self.lifetime.is_open
            self.lifetime.close(ClientClosedError(f"the client of session {self.id} was closed"))
        process_end.forget(self)
        end = time.monotonic() + seconds
        is_mine = was_open and self.made_by(os.getpid())
        if self.telemetry is not None:
            if is_mine:
                self.telemetry.session_ended()
            self.telemetry.stop()
        self.manager.stop_session(self.id, seconds / 4, self.transport)

        def tell() -> None:
            with contextlib.suppress(TinkerError):  # the server ends the session when its heartbeats stop
                api.finish_session(self.transport, self.id, status, detail, seconds / 4, tries)

        try:
            if is_mine:
                _run_within(seconds / 2, tell)
            if self.telemetry is not None:
                self.telemetry.join(min(LAST_REPORT, seconds / 4))
        finally:
            # Pending calls fail at once, and queued calls as soon as they begin.
            self.transport.close()
            for executor in self._executors.all():
                executor.shutdown(timeout=max(0.1, end - time.monotonic()))
            self._finalizer.detach()

    def end_session(self, status: Status, seconds: float) -> None:
        """``finish`` for the end of the process: with one try, and only in the process that made the session."""
        if self.made_by(os.getpid()):
            self.finish(status, None, seconds, tries=1)

    def _on_end(self, error: SessionEndedError) -> None:
        self.lifetime.end(error)

    def _resume(self) -> None:
        self.manager.resume(self.id, self.transport)

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        # The heartbeat resumes at the next use, since a child that never uses the session must not keep it alive.
        self.lifetime.before_next_use(self._resume)
        first = os.getpid() * FORK_RANGE
        self._model_numbers = itertools.count(first)
        self._sampler_numbers = itertools.count(first)
        self._loss_numbers = itertools.count(first)


def _run_within(seconds: float, work: Callable[[], None]) -> None:
    """Run ``work`` on a thread and wait at most ``seconds`` for it. It may still run afterwards."""
    thread = threading.Thread(target=work, name="tinkex-finish", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # some versions of Python start no threads during the exit
        work()
    else:
        thread.join(seconds)


def _let_go_aside(*args: Any) -> None:
    # The garbage collector may call this in any thread, even while the thread holds a lock that is needed here,
    # so another thread does the work. Unlike threading.Thread.start, this way to start it takes no lock.
    with contextlib.suppress(RuntimeError):
        _thread.start_new_thread(_let_go, args)


def _let_go(
    manager: SessionManager,
    session_id: str,
    transport: Transport,
    executors: Living[DaemonExecutor],
    telemetry: Telemetry | None,
) -> None:
    transport.close()
    if telemetry is not None:
        telemetry.stop()
    manager.stop_session(session_id, transport=transport)
    for executor in executors.all():
        executor.shutdown(wait=False)
