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
    APITimeoutError,
    ClientClosedError,
    ConfigError,
    SessionEndedError,
)
from tinkex.http.transport import Transport

logger = logging.getLogger("tinkex")

# In seconds.
HEARTBEAT_INTERVAL = 10.0
BEAT_TIMEOUT = 10.0
WARN_AFTER = 120.0
WARN_EVERY = 60.0

OnEnd = Callable[[SessionEndedError], None]


@dataclass(frozen=True)
class SessionInfo:
    """A snapshot of one session. Times are in seconds."""

    session_id: str
    age: float
    last_success: float | None
    """Seconds since the last heartbeat that the server accepted; None if there was none yet."""
    consecutive_failures: int
    """Heartbeats that have failed since the last success."""
    last_error: str | None
    """The error of the last heartbeat; None if it succeeded."""


class _BeatRecord(NamedTuple):
    """The outcomes of a session's heartbeats. It is replaced as a whole, so a reader needs no lock."""

    last_success: float | None = None
    failures: int = 0
    last_error: Exception | None = None


class _Heartbeat(Task):
    """The periodic task that keeps one session alive."""

    def __init__(
        self,
        manager: SessionManager,
        session_id: str,
        transport: Transport,
        *,
        owns_transport: bool,
        on_end: OnEnd | None,
    ) -> None:
        self.group = transport.base_url
        self.session_id = session_id
        self.transport = transport
        self.owns_transport = owns_transport
        self.created = time.monotonic()
        self.record = _BeatRecord()
        self._manager = manager
        self._warned = float("-inf")
        self._on_end: Any = weakref.WeakMethod(on_end) if inspect.ismethod(on_end) else lambda: on_end

    def run(self) -> bool:
        """Send one heartbeat and deal with its outcome. Return True if no answer came in time."""
        try:
            api.heartbeat(self.transport, self.session_id, self._manager.beat_timeout)
        except Exception as error:
            self.record = self.record._replace(failures=self.record.failures + 1, last_error=error)
            if isinstance(error, SessionEndedError):
                self._end(error)
            elif isinstance(error, ClientClosedError):  # the owner closed the transport, and so the session
                self._manager._forget(self)
            else:
                self._warn(error)
            return isinstance(error, APITimeoutError)
        self.record = _BeatRecord(last_success=time.monotonic())
        return False

    def release(self) -> None:
        """Close the transport, if it was made for this session alone."""
        if self.owns_transport:
            self.transport.close()

    def _end(self, error: SessionEndedError) -> None:
        if not self._manager._forget(self):
            return  # stop_session was called meanwhile
        self.release()
        logger.error("%s", error.message)
        on_end = self._on_end()
        if on_end is not None:
            on_end(error)

    def _warn(self, error: Exception) -> None:
        now = time.monotonic()
        silent = now - (self.record.last_success or self.created)
        if silent >= self._manager.warn_after and now - self._warned >= WARN_EVERY:
            self._warned = now
            logger.warning(
                "session %s: no heartbeat has succeeded for %.0f s: %s", self.session_id, silent, error
            )


class SessionManager:
    """Keeps sessions alive: each gets a heartbeat every ``heartbeat_interval`` seconds until it is stopped.

    Heartbeats run on a few threads, and those that fall due within a twentieth of the interval run
    together. A server that hangs delays only its own sessions. An answer that means that the session has ended
    (``SessionEndedError``) removes the session and tells its owner. Any other failure keeps the session; after
    ``warn_after`` seconds without success a warning is logged, at most once a minute.

    ``SessionManager.default()`` is shared by the clients of the process. A program that needs another
    interval makes a manager of its own, in a ``with`` block or with ``close`` at the end.

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
        """Make a manager without sessions.

        ``beat_timeout`` is how many seconds one heartbeat may take. Raises ``ConfigError`` unless
        ``heartbeat_interval`` is a positive number.
        """
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
        """Return the manager that the clients of this process share, unless they are given another."""
        # The setdefault of a dictionary is atomic, so no lock is needed, which a fork could copy while held.
        return cls._shared.get("default") or cls._shared.setdefault("default", SessionManager())

    def __enter__(self) -> SessionManager:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def start_session(
        self, config: Config, transport: Transport | None = None, on_end: OnEnd | None = None
    ) -> str:
        """Start a session on the server of ``config``, keep it alive, and return its id.

        The call blocks for the round trip. Heartbeats use the connections of ``transport``, or of a new
        transport if it is None. If the server ends the session, ``on_end`` is called once, on a worker
        thread and without any lock; a bound method is held weakly, so it keeps no client alive. Raises
        ``APIError`` if the session cannot be started, and ``ClientClosedError`` if the manager is closed.

        Example::

            with tinkex.SessionManager() as manager:  # a session without a ServiceClient
                session_id = manager.start_session(tinkex.Config(base_url="local://"))
                manager.stop_session(session_id, timeout=2.0)
        """
        if self._beats.closed:
            raise _closed()
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
            beat = _Heartbeat(
                self, created.session_id, transport, owns_transport=owns_transport, on_end=on_end
            )
            if not self._beats.add(beat):
                raise _closed()
        except BaseException:
            if owns_transport:
                transport.close()
            raise
        return created.session_id

    def stop_session(
        self, session_id: str, timeout: float | None = None, transport: Transport | None = None
    ) -> None:
        """Stop the heartbeats of a session, and block until none of them is in flight.

        The wait lasts at most ``timeout`` seconds (default: ``beat_timeout``). An owner passes the same
        ``transport`` as to ``start_session``, because two servers may give out the same session id. An
        unknown ``session_id`` is not an error.
        """
        stopped = self._beats.remove(self._find(session_id, transport))
        self._beats.wait_for(stopped, self.beat_timeout if timeout is None else timeout)
        for beat in stopped:
            beat.release()

    def sessions(self) -> list[SessionInfo]:
        """Return a snapshot of the live sessions, in the order in which they were started."""
        now = time.monotonic()
        found = []
        for beat in self._beats.tasks():
            last_success, failures, last_error = beat.record
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
        """Send heartbeats from a forked child too, for a session that was started in the parent."""
        for beat in self._find(session_id, transport):
            self._beats.resume(beat)

    def beat(self, session_id: str, transport: Transport | None = None) -> None:
        """Send a heartbeat of a session now, in this thread, and deal with its outcome as with that of any other."""
        for beat in self._find(session_id, transport):
            beat.run()

    def close(self, timeout: float | None = None) -> None:
        """Stop all heartbeats and join the threads, for at most ``timeout`` seconds (default ``beat_timeout``).

        Their owners, not the manager, end the sessions on the server.
        """
        for beat in self._beats.close():
            beat.release()
        self._beats.join(self.beat_timeout if timeout is None else timeout)

    def _find(self, session_id: str, transport: Transport | None) -> list[_Heartbeat]:
        # The id alone is not enough: two servers, or one that was restarted, may give out the same id.
        return [
            beat
            for beat in self._beats.tasks()
            if beat.session_id == session_id and transport in (None, beat.transport)
        ]

    def _forget(self, beat: _Heartbeat) -> bool:
        """Remove a session that has ended. Return False if it had been removed already."""
        return bool(self._beats.remove([beat]))


def _closed() -> ClientClosedError:
    return ClientClosedError("the session manager was closed")
