"""What the clients of a test have left behind: sessions, threads, connections, and warnings that nobody caught."""

from __future__ import annotations

import gc
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import tinkex
from tinkex.observability.caller_warnings import is_ours
from tinkex.session_manager import SessionManager
from tinkex.testing.server import TinkerServer

GRACE = 3.0
"""Seconds that threads and connections have to end. Threads of a pool that idle live longer."""
FIRST_LOOK = 0.2
"""Seconds after which garbage is collected, which takes a while."""
_SERVERS = ("tinkex-local-", "tinkex-testing-")
_PACKAGE = str(Path(tinkex.__file__).parent)


class Watch:
    """Watches a test, in a ``with`` block, for what its clients leave behind on ``server``.

    With ``read_warnings`` it also collects the warnings that Tinkex issues and nobody catches.
    """

    def __init__(self, server: TinkerServer, *, read_warnings: bool) -> None:
        self._server = server
        self._before = client_threads()
        self._catch = warnings.catch_warnings(record=True) if read_warnings else None
        self._log: list[warnings.WarningMessage] = []

    def __enter__(self) -> Watch:
        if self._catch is not None:
            log = self._catch.__enter__()
            self._log = [] if log is None else log
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._catch is None:
            return
        self._catch.__exit__(kind, error, trace)
        for each in self._log:  # for whoever else collects warnings, such as pytest
            if not isinstance(each.message, str):
                warnings.warn_explicit(
                    each.message, each.category, each.filename, each.lineno, source=each.source
                )

    def left(self) -> list[str]:
        """Describe what is left, after waiting for what still ends."""
        if not _wait(lambda: not self._things(), FIRST_LOOK):
            gc.collect()  # a client in a cycle of references ends when it is collected
            _wait(lambda: not self._things(), GRACE)
        return self._things() + [
            f"unread warning {each.category.__name__}: {each.message} ({each.filename}:{each.lineno})"
            for each in self._log
            if is_ours(each.message) or each.filename.startswith(_PACKAGE)
        ]

    def _things(self) -> list[str]:
        found = [f"session {each.id} is open" for each in self._server.sessions if each.active]
        found += [f"thread {thread.name} runs" for thread in sorted(self._threads(), key=lambda t: t.name)]
        connections = self._server.open_connections
        return [*found, f"{connections} sockets are connected"] if connections else found

    def _threads(self) -> set[threading.Thread]:
        """The threads of clients that have been started meanwhile and still run.

        The heartbeat threads that the sessions of the process share idle for a while after the last session.
        """
        idle = () if SessionManager.default().sessions() else ("tinkex-heartbeat-",)
        return {
            thread for thread in client_threads() - self._before if not thread.name.startswith(idle or "\0")
        }


def client_threads() -> set[threading.Thread]:
    """The threads of all clients of this process."""
    return {
        thread
        for thread in threading.enumerate()
        if thread.name.startswith("tinkex-") and not thread.name.startswith(_SERVERS)
    }


def _wait(done: Callable[[], bool], seconds: float) -> bool:
    """Wait up to ``seconds`` until ``done()`` is true; return whether it is."""
    end = time.monotonic() + seconds
    pause = 0.0005
    while not (is_done := done()) and time.monotonic() < end:
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
    return is_done
