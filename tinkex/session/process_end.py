"""Ends open sessions when the process ends, at interpreter exit or because of SIGTERM.

A session that is not ended stays alive on the server, with its models, until its heartbeats have been missing for
some time. Python runs ``atexit`` hooks when a script ends, but not when SIGTERM kills the process, which is what
``docker stop``, ``kill`` and most process managers do. So if the action for SIGTERM is the default one, a handler
ends the sessions first, and then lets the signal kill the process.
"""

from __future__ import annotations

import atexit
import functools
import os
import signal
import sys
import threading
import time
from functools import partial
from types import FrameType
from typing import Any, Literal, Protocol

from tinkex.concurrency.executor import DaemonExecutor
from tinkex.concurrency.living import Living

Status = Literal["success", "errored", "interrupted"]
"""How a session ended, as it is reported to the server."""

LEAST_SECONDS = 0.1
"""In less time no session can be ended."""
EXIT_SECONDS = 1.5
"""The longest time in seconds that the end of the process waits for open sessions to end."""


class OpenSession(Protocol):
    """Something that holds a session open."""

    def end_session(self, status: Status, seconds: float) -> None:
        """End the session within ``seconds``, if this process has started it."""


_open: Living[OpenSession] = Living()


def end_with_process(session: OpenSession, *, on_sigterm: bool) -> None:
    """End ``session`` when the process ends, unless it is out of use or ``forget`` was called by then.

    With ``on_sigterm`` the session is also ended when SIGTERM kills the process. The handler for this is
    set only in the main thread, because Python allows no other, and only if the action for SIGTERM is the
    default one. So a program's own handler is never replaced. A handler that the program sets later
    replaces this one.
    """
    _open.add(session)
    may_set_handlers = threading.current_thread() is threading.main_thread()
    if on_sigterm and may_set_handlers and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        _in_forked_children()
        signal.signal(signal.SIGTERM, _on_sigterm)


def forget(session: OpenSession) -> None:
    """Do not end ``session`` with the process, because it has been ended already."""
    _open.discard(session)


def open_sessions() -> list[OpenSession]:
    """The sessions that would be ended with the process."""
    return _open.all()


def _on_sigterm(number: int, frame: FrameType | None) -> None:
    # Another thread ends the sessions, because the main thread may have been interrupted while it held a lock.
    ending = threading.Thread(target=_end_all, args=("interrupted",), name="tinkex-sigterm", daemon=True)
    try:
        ending.start()
        ending.join(EXIT_SECONDS)
    finally:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        # Only the first process of a container gets here, for which the kernel ignores the default action.
        os._exit(128 + number)


@functools.cache
def _in_forked_children() -> None:
    """Restore the default action for SIGTERM in forked children, which have no session of their own to end.

    Python drops the signals that reach a child before the child is set up, so SIGTERM is held back until
    then. Otherwise a child that is terminated right after the fork, as process pools do, would survive.
    """
    masks: dict[int, Any] = {}

    def before() -> None:
        masks[threading.get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def after() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.pop(threading.get_ident()))

    def after_in_child() -> None:
        if signal.getsignal(signal.SIGTERM) is _on_sigterm:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        after()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=before, after_in_parent=after, after_in_child=after_in_child)


@atexit.register
def _at_exit() -> None:
    # Python sets sys.last_type when an exception ends a script.
    last: Any = getattr(sys, "last_type", None)
    _end_all("success" if last is None else "errored" if issubclass(last, Exception) else "interrupted")


def _end_all(status: Status) -> None:
    """End all open sessions within ``EXIT_SECONDS``, in parallel if threads can be started.

    Python 3.12 starts none during the exit, so there the sessions are ended one after the other.
    """
    forgotten = _open.all()
    if not forgotten:
        return
    executor = DaemonExecutor(16, "exit")
    end = time.monotonic() + EXIT_SECONDS
    for session in forgotten:
        try:
            executor.run(partial(session.end_session, status, EXIT_SECONDS))
        except RuntimeError:
            left = end - time.monotonic()
            if left > LEAST_SECONDS:  # else the server ends it when its heartbeats stop
                session.end_session(status, left)
    executor.shutdown(timeout=max(0.0, end - time.monotonic()))
