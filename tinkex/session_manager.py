"""The registry of live sessions, and the heartbeats that keep them alive."""

from __future__ import annotations

import inspect
import logging
import math
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from tinkex.api import service as api
from tinkex.api.connect import connect
from tinkex.concurrency.periodic import PeriodicTasks, Task
from tinkex.config import Config
from tinkex.errors import (
    APIStatusError,
    APITimeoutError,
    ClientClosedError,
    ConfigError,
    SessionEndedError,
    describe_body,
)
from tinkex.http.transport import Transport

logger = logging.getLogger("tinkex")

HEARTBEAT_INTERVAL = 10.0
BEAT_TIMEOUT = 10.0
WARN_AFTER = 120.0
WARN_EVERY = 60.0

_STILL_ALIVE = frozenset({408, 409, 429})
"""4xx answers to a beat that say nothing about the session."""

OnEnd = Callable[[SessionEndedError], None]


@dataclass(frozen=True)
class SessionInfo:
    """A snapshot of one session. Times are in seconds."""

    session_id: str
    age: float
    last_success: float | None
    """Seconds since the last beat the server took; None if there was none yet."""
    consecutive_failures: int
    last_error: str | None


class _Health(NamedTuple):
    """How the beats of a session have gone, always read and replaced as one."""

    last_success: float | None = None
    failures: int = 0
    last_error: Exception | None = None


class _Heartbeat(Task):
    """One live session."""

    def __init__(
        self,
        manager: SessionManager,
        session_id: str,
        transport: Transport,
        owns_transport: bool,
        on_end: OnEnd | None,
    ) -> None:
        self.group = transport.base_url
        self.session_id = session_id
        self.transport = transport
        self.owns_transport = owns_transport
        self.created = time.monotonic()
        self.health = _Health()
        self._manager = manager
        self._warned = float("-inf")
        self._on_end: Any = weakref.WeakMethod(on_end) if inspect.ismethod(on_end) else lambda: on_end

    def run(self) -> bool:
        """Beat, and see what became of it; True if there was no answer in time."""
        try:
            api.heartbeat(self.transport, self.session_id, self._manager.beat_timeout)
        except Exception as error:
            self.health = self.health._replace(failures=self.health.failures + 1, last_error=error)
            if isinstance(error, APIStatusError) and _is_final(error.status_code):
                self._end(error)
            elif isinstance(error, ClientClosedError):  # its owner closed the transport and knows
                self._manager._forget(self)
            else:
                self._warn(error)
            return isinstance(error, APITimeoutError)
        self.health = _Health(last_success=time.monotonic())
        return False

    def let_go(self) -> None:
        """Close the transport if it was made for this."""
        if self.owns_transport:
            self.transport.close()

    def _end(self, error: APIStatusError) -> None:
        if not self._manager._forget(self):
            return  # it was stopped while it beat
        self.let_go()
        message = f"session {self.session_id} has ended: {error.status_code} {describe_body(error.body)}"
        logger.error("%s", message)
        on_end = self._on_end()
        if on_end is not None:
            on_end(SessionEndedError(message, self.session_id, error.status_code))

    def _warn(self, error: Exception) -> None:
        now = time.monotonic()
        silent = now - (self.health.last_success or self.created)
        if silent >= self._manager.warn_after and now - self._warned >= WARN_EVERY:
            self._warned = now
            logger.warning(
                "session %s: no heartbeat has succeeded for %.0f s: %s", self.session_id, silent, error
            )


class SessionManager:
    """Keeps sessions alive: each gets a heartbeat every ``heartbeat_interval`` seconds until it is stopped.

    Beats run on a few threads, and those that are due at about the same time (a twentieth of the interval)
    together; see ``PeriodicTasks``. A server that hangs delays only its own sessions. A final refusal (4xx
    other than 408, 409, 429) removes the session and tells its owner; anything else keeps it, with a
    warning after ``warn_after`` seconds without success, at most one a minute.

    ``SessionManager.default()`` serves the process; make one of your own for other intervals, and
    ``close`` it (it is a context manager).

    Example::

        with tinkex.SessionManager(heartbeat_interval=5.0) as manager:
            with tinkex.ServiceClient(base_url="local://", session_manager=manager):
                for session in manager.sessions():
                    print(session.session_id, f"{session.age:.1f} s old", session.last_error)
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
        self._beats: PeriodicTasks[_Heartbeat] = PeriodicTasks(heartbeat_interval, "heartbeat")

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
        self, config: Config, transport: Transport | None = None, on_end: OnEnd | None = None
    ) -> str:
        """Open a session on the server of ``config`` and keep it alive; returns its id. Blocks for the round trip.

        ``transport`` lets the beats share an owner's connections. ``on_end`` is called once, from a
        worker thread and without any lock, if the server ends the session; a bound method is held weakly,
        so that being registered keeps no client alive. Raises ``APIError``; then nothing is left behind.

        Example::

            with tinkex.SessionManager() as manager:  # sessions without a ServiceClient
                session_id = manager.start_session(tinkex.Config(base_url="local://"))
                manager.stop_session(session_id, timeout=2.0)
        """
        self._check_open(not self._beats.closed)
        owns_transport = transport is None
        if transport is None:
            transport, _ = connect(config)
        try:
            created = api.create_session(transport, config)
            for level, text in (
                (logging.INFO, created.info_message),
                (logging.WARNING, created.warning_message),
                (logging.ERROR, created.error_message),
            ):
                if text:
                    logger.log(level, "%s", text)
            beat = _Heartbeat(self, created.session_id, transport, owns_transport, on_end)
            self._check_open(self._beats.add(beat))
        except BaseException:
            if owns_transport:
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
        stopped = self._beats.remove(self._find(session_id, transport))
        self._beats.wait_for(stopped, self.beat_timeout if timeout is None else timeout)
        for beat in stopped:
            beat.let_go()

    def sessions(self) -> list[SessionInfo]:
        """A snapshot of the live sessions, in the order of starting."""
        now = time.monotonic()
        found = []
        for beat in self._beats.tasks():
            last_success, failures, last_error = beat.health
            found.append(
                SessionInfo(
                    session_id=beat.session_id,
                    age=now - beat.created,
                    last_success=None if last_success is None else now - last_success,
                    consecutive_failures=failures,
                    last_error=None if last_error is None else str(last_error),
                )
            )
        return found

    def resume(self, session_id: str, transport: Transport) -> None:
        """In a forked child: beat for a session that was made in the parent, too."""
        for beat in self._find(session_id, transport):
            self._beats.resume(beat)

    def close(self, timeout: float | None = None) -> None:
        """Stop all sessions and join the threads, waiting for at most ``timeout`` seconds (``beat_timeout``).

        Sessions are not finished on the server; their owners do that.
        """
        for beat in self._beats.close():
            beat.let_go()
        self._beats.join(self.beat_timeout if timeout is None else timeout)

    def _find(self, session_id: str, transport: Transport | None) -> list[_Heartbeat]:
        # Not by id alone, for two servers, or one restarted, may give the same one.
        return [
            beat
            for beat in self._beats.tasks()
            if beat.session_id == session_id and transport in (None, beat.transport)
        ]

    def _forget(self, beat: _Heartbeat) -> bool:
        """The session is no more; whether it was still wanted."""
        return bool(self._beats.remove([beat]))

    def _check_open(self, is_open: bool) -> None:
        if not is_open:
            raise ClientClosedError("the session manager was closed")


def _is_final(status: int) -> bool:
    """Whether this answer to a beat means that the session is no more."""
    return 400 <= status < 500 and status not in _STILL_ALIVE
