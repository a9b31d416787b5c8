"""The registry of live sessions, and the heartbeats that keep them alive."""

from __future__ import annotations

import collections
import heapq
import inspect
import itertools
import logging
import math
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

from tinkex.api import service as api
from tinkex.config import Config
from tinkex.errors import (
    APIStatusError,
    APITimeoutError,
    ClientClosedError,
    ConfigError,
    SessionEndedError,
    describe_body,
)
from tinkex.executor import DaemonExecutor
from tinkex.forks import renew_after_fork
from tinkex.handshake import connect
from tinkex.http.transport import Transport

logger = logging.getLogger("tinkex")

HEARTBEAT_INTERVAL = 10.0
BEAT_TIMEOUT = 10.0
WARN_AFTER = 120.0
WARN_EVERY = 60.0

WORKERS = 36
SLOTS = 24
"""Beats in flight to one server at once: fewer than the workers, so that one that hangs leaves some free."""
SUSPECT_SLOTS = 2
"""The same for a server whose last beat got no answer in time."""

_STILL_ALIVE = frozenset({408, 409, 429})
"""4xx answers to a beat that say nothing about the session."""


@dataclass(frozen=True)
class SessionInfo:
    """A snapshot of one session. Times are in seconds."""

    session_id: str
    age: float
    last_success: float | None
    """Seconds since the last beat the server took; None if there was none yet."""
    consecutive_failures: int
    last_error: str | None


@dataclass(eq=False)
class _Server:
    """The beats of one server that are in flight or wait for a slot."""

    active: int = 0
    suspect: bool = False
    waiting: collections.deque[_Entry] = field(default_factory=collections.deque)

    @property
    def has_slot(self) -> bool:
        return self.active < (SUSPECT_SLOTS if self.suspect else SLOTS)


@dataclass(eq=False)
class _Entry:
    session_id: str
    transport: Transport
    owned: bool
    """Whether the transport was made here and ends with the entry."""
    on_end: (
        Callable[[SessionEndedError], None] | weakref.WeakMethod[Callable[[SessionEndedError], None]] | None
    )
    created: float
    due: float
    server: _Server = field(default_factory=_Server)
    last_success: float | None = None
    failures: int = 0
    last_error: BaseException | None = None
    warned: float = float("-inf")
    underway: bool = False
    """Its beat is in flight or waits for a slot: the next one is skipped, so that they never pile up."""


class SessionManager:
    """Keeps sessions alive: each gets a heartbeat every ``heartbeat_interval`` seconds until it is stopped.

    One scheduler thread wakes for the earliest due session and hands the beat to a bounded set of
    workers. The registry lock is never held during I/O. A server that hangs holds only its own slots.
    A final refusal (4xx other than 408, 409, 429) removes the session and tells its owner; anything
    else keeps it, with a warning after ``warn_after`` seconds without success, at most one a minute.

    ``SessionManager.default()`` serves the process; make one of your own for other intervals, and
    ``close`` it (it is a context manager).
    """

    _shared: ClassVar[dict[str, SessionManager]] = {}

    def __init__(
        self,
        heartbeat_interval: float = HEARTBEAT_INTERVAL,
        *,
        warn_after: float = WARN_AFTER,
        beat_timeout: float = BEAT_TIMEOUT,
    ) -> None:
        if not 0 < heartbeat_interval < math.inf:
            raise ConfigError(
                f"heartbeat_interval must be a positive number of seconds, not {heartbeat_interval!r}"
            )
        self.heartbeat_interval = heartbeat_interval
        self.warn_after = warn_after
        self.beat_timeout = beat_timeout
        # In the order of starting. Not by id, for two servers, or one restarted, may give the same one.
        self._entries: dict[_Entry, None] = {}
        self._closed = False
        self._executor = DaemonExecutor(WORKERS, "heartbeat")
        self._thread: threading.Thread | None = None
        self._reset()
        renew_after_fork(self)

    @classmethod
    def default(cls) -> SessionManager:
        """The manager that clients of this process share unless they bring their own."""
        # A dictionary's setdefault is atomic, so this needs no lock that a fork could catch held.
        return cls._shared.get("default") or cls._shared.setdefault("default", SessionManager())

    def __enter__(self) -> SessionManager:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def start_session(
        self,
        config: Config,
        transport: Transport | None = None,
        on_end: Callable[[SessionEndedError], None] | None = None,
    ) -> str:
        """Open a session on the server of ``config`` and keep it alive; its id. Blocks for the round trip.

        ``transport`` lets the beats share an owner's connections. ``on_end`` is called once, from a
        worker thread and without any lock, if the server ends the session; a bound method is held weakly,
        so that being registered keeps no client alive. Raises ``APIError``; then nothing is left behind.
        """
        self._check_open()
        owned = transport is None
        if transport is None:
            transport, _ = connect(config)
        try:
            created = api.create_session(transport, config)
        except BaseException:
            if owned:
                transport.close()
            raise
        for level, text in (
            (logging.INFO, created.info_message),
            (logging.WARNING, created.warning_message),
            (logging.ERROR, created.error_message),
        ):
            if text:
                logger.log(level, "%s", text)
        owner: Any = weakref.WeakMethod(on_end) if inspect.ismethod(on_end) else None
        now = time.monotonic()
        entry = _Entry(
            created.session_id,
            transport,
            owned,
            owner or on_end,
            created=now,
            due=now + self.heartbeat_interval,
        )
        try:
            with self._changed:
                self._check_open()  # again, for it may have been closed meanwhile
                entry.server = self._servers.setdefault(transport.base_url, _Server())
                self._watch(entry)
                self._entries[entry] = None
        except BaseException:
            if owned:
                transport.close()
            raise
        return created.session_id

    def stop_session(
        self, session_id: str, timeout: float | None = None, transport: Transport | None = None
    ) -> None:
        """Beat no more for this session; returns when no beat of it is in flight. An unknown id is fine.

        A beat takes at most ``beat_timeout`` seconds; ``timeout`` (seconds) bounds the wait further. An owner
        names the ``transport`` that it gave, lest it stop a session of the same id on another server.
        """
        with self._changed:
            entries = self._find(session_id, transport)
            for entry in entries:
                del self._entries[entry]
                self._drop_waiting(entry)
            self._changed.notify_all()
            self._beaten.wait_for(
                lambda: not any(entry.underway for entry in entries),
                self.beat_timeout if timeout is None else timeout,
            )
        for entry in entries:
            if entry.owned:
                entry.transport.close()

    def sessions(self) -> list[SessionInfo]:
        """A snapshot of the live sessions."""
        now = time.monotonic()
        with self._changed:
            return [
                SessionInfo(
                    session_id=entry.session_id,
                    age=now - entry.created,
                    last_success=None if entry.last_success is None else now - entry.last_success,
                    consecutive_failures=entry.failures,
                    last_error=None if entry.last_error is None else str(entry.last_error),
                )
                for entry in self._entries
            ]

    def resume(self, session_id: str, transport: Transport) -> None:
        """In a forked child: beat for a session that was made in the parent, too."""
        with self._changed:
            for entry in self._find(session_id, transport):
                self._watch(entry)

    def close(self, timeout: float | None = None) -> None:
        """Stop all sessions and join the threads, waiting for at most ``timeout`` seconds (``beat_timeout``).

        Sessions are not finished on the server; their owners do that.
        """
        end = time.monotonic() + (self.beat_timeout if timeout is None else timeout)
        with self._changed:
            self._closed = True
            entries = list(self._entries)
            thread = self._thread
            self._changed.notify_all()
        for entry in entries:
            if entry.owned:
                entry.transport.close()
        for entry in entries:
            self.stop_session(entry.session_id, max(0.0, end - time.monotonic()), entry.transport)
        if thread is not None and thread is not threading.current_thread():
            thread.join(max(0.0, end - time.monotonic()))
        self._executor.shutdown(timeout=max(0.0, end - time.monotonic()))

    def _find(self, session_id: str, transport: Transport | None) -> list[_Entry]:
        return [
            entry
            for entry in self._entries
            if entry.session_id == session_id and transport in (None, entry.transport)
        ]

    def _check_open(self) -> None:
        if self._closed:
            raise ClientClosedError("the session manager was closed")

    def _watch(self, entry: _Entry) -> None:
        """Enter ``entry`` into the schedule, and start the scheduler if it rests. Called with the lock."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="tinkex-heartbeat-scheduler", daemon=True)
            thread.start()
            self._thread = thread
        heapq.heappush(self._schedule, (entry.due, next(self._ties), entry))
        self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._entries:
                    # With no session left the schedule holds only stopped ones.
                    self._schedule.clear()
                    self._thread = None
                    return
                ready = self._take_due()
                if not ready:
                    delay = (
                        self._schedule[0][0] - time.monotonic() if self._schedule else self.heartbeat_interval
                    )
                    self._changed.wait(max(0.0, delay))
            for entry in ready:
                try:
                    self._executor.run(partial(self._beat_on, entry))
                except RuntimeError:  # no thread to be had now; the next beat tries again
                    with self._changed:
                        entry.underway = False
                        entry.server.active -= 1

    def _take_due(self) -> list[_Entry]:
        """The entries whose beat starts now; each is entered again one interval on. Called with the lock."""
        now = time.monotonic()
        ready: list[_Entry] = []
        while self._schedule and self._schedule[0][0] <= now:
            entry = heapq.heappop(self._schedule)[2]
            if entry not in self._entries:
                continue
            # From the time it was due, not from now: so the cadence does not drift.
            missed = int((now - entry.due) / self.heartbeat_interval)
            entry.due += (1 + missed) * self.heartbeat_interval
            heapq.heappush(self._schedule, (entry.due, next(self._ties), entry))
            if entry.underway:
                continue
            entry.underway = True
            if entry.server.has_slot:
                entry.server.active += 1
                ready.append(entry)
            else:
                entry.server.waiting.append(entry)
        return ready

    def _beat_on(self, entry: _Entry | None) -> None:
        """Beat for ``entry``, then for whoever waits for the slot that this frees."""
        while entry is not None:
            entry = self._beat(entry)

    def _beat(self, entry: _Entry) -> _Entry | None:
        error: BaseException | None = None
        try:
            api.heartbeat(entry.transport, entry.session_id, self.beat_timeout)
        except Exception as failure:
            error = failure
        now = time.monotonic()
        ended = _final(error)
        warn = False
        server = entry.server
        with self._changed:
            entry.underway = False
            server.active -= 1
            server.suspect = isinstance(error, APITimeoutError)
            following = server.waiting.popleft() if server.waiting and server.has_slot else None
            if following is not None:
                server.active += 1
            current = entry in self._entries
            if error is None:
                entry.last_success, entry.failures, entry.last_error = now, 0, None
            else:
                entry.failures += 1
                entry.last_error = error
                silent = now - (entry.created if entry.last_success is None else entry.last_success)
                warn = silent >= self.warn_after and now - entry.warned >= WARN_EVERY
                if warn:
                    entry.warned = now
            if ended and current:
                del self._entries[entry]
                self._changed.notify_all()
            self._beaten.notify_all()
        if current and ended:
            self._end(entry, error)
        elif current and warn:
            logger.warning(
                "session %s: no heartbeat has succeeded for %.0f s: %s", entry.session_id, silent, error
            )
        return following

    def _end(self, entry: _Entry, error: BaseException | None) -> None:
        if entry.owned:
            entry.transport.close()
        if not isinstance(error, APIStatusError):
            return  # its owner closed the transport and knows
        message = f"session {entry.session_id} has ended: {error.status_code} {describe_body(error.body)}"
        logger.error("%s", message)
        on_end = entry.on_end() if isinstance(entry.on_end, weakref.WeakMethod) else entry.on_end
        if on_end is not None:
            on_end(SessionEndedError(message, entry.session_id, error.status_code))

    def _drop_waiting(self, entry: _Entry) -> None:
        """Take ``entry`` out of its server's queue, if it is there. Called with the lock."""
        try:
            entry.server.waiting.remove(entry)
        except ValueError:
            return
        entry.underway = False

    def _reset(self) -> None:
        lock = threading.RLock()
        self._changed = threading.Condition(lock)
        """The schedule is not what the scheduler thinks it is."""
        self._beaten = threading.Condition(lock)
        """A beat is over; apart from the other, so that a beat does not wake the scheduler."""
        self._schedule: list[tuple[float, int, _Entry]] = []
        self._ties = itertools.count()
        self._thread = None
        self._servers: dict[str, _Server] = {}

    def _after_fork(self) -> None:
        """No thread of the parent is here, so nothing is underway; sessions beat again once they are used."""
        self._reset()
        now = time.monotonic()
        for entry in self._entries:
            entry.underway = False
            entry.server = self._servers.setdefault(entry.transport.base_url, _Server())
            entry.due = now + self.heartbeat_interval


def _final(error: BaseException | None) -> bool:
    """Whether this answer to a beat means that the session is no more."""
    if isinstance(error, APIStatusError):
        return 400 <= error.status_code < 500 and error.status_code not in _STILL_ALIVE
    return isinstance(error, ClientClosedError)
