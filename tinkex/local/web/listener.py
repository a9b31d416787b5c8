"""The sockets and threads of a running server: waitress, with a thread for each request in progress."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from waitress.server import create_server
from waitress.task import ThreadedTaskDispatcher

_IDLE_THREADS = 8
_MAX_BODY = 1 << 30
STOP_SECONDS = 2
"""Seconds that a stopping server waits for its last answers, and then again for them to be sent."""


class Listener:
    """Answers HTTP requests to ``application`` on a host and port, from when it is made until ``stop``."""

    def __init__(self, application: Callable[..., Any], host: str, port: int) -> None:
        logging.getLogger("waitress").setLevel(logging.ERROR)
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        self._pid = os.getpid()
        self._dispatcher = _Dispatcher()
        # Any, because the published types leave out a server's port, map and trigger.
        server: Any = create_server(
            application,
            _dispatcher=self._dispatcher,
            host=_one_address(host),
            port=port,
            ident=None,
            connection_limit=100_000,
            asyncore_use_poll=True,
            backlog=1024,
            channel_timeout=600,
            max_request_body_size=_MAX_BODY,
        )
        self._server = server
        self.port: int = int(server.effective_port)
        self._dispatcher.set_thread_count(_IDLE_THREADS)
        self._stopping = False
        self._deadline = 0.0
        self._thread = threading.Thread(target=self._loop, name="tinkex-local-http", daemon=True)
        self._thread.start()

    def _loop(self) -> None:
        while not self._stopping or (self._unsent() and time.monotonic() < self._deadline):
            wait = 0.01 if self._stopping else 30.0
            self._server.asyncore.loop(timeout=wait, use_poll=True, map=self._server._map, count=1)
        # This thread closes the sockets, so that none is closed while it is being read or written here.
        for channel in list(self._server._map.values()):
            if channel is self._server:
                self._server.asyncore.dispatcher.close(channel)  # its own method would close the trigger, too
            elif channel is not self._server.trigger:
                channel.close()

    def _unsent(self) -> bool:
        return any(getattr(channel, "total_outbufs_len", 0) for channel in list(self._server._map.values()))

    @property
    def is_of_this_process(self) -> bool:
        """False in a forked child, where the listener's threads do not exist and its sockets are the parent's."""
        return os.getpid() == self._pid

    def stop(self) -> None:
        """Send the answers that are being made, close the connections, end the threads."""
        self._dispatcher.stop(STOP_SECONDS)
        # The answers are in buffers by now. The loop ends when they are sent, or nobody takes them.
        self._deadline = time.monotonic() + STOP_SECONDS
        self._stopping = True
        self._server.pull_trigger()
        self._thread.join(STOP_SECONDS + 0.5)
        # The trigger was needed until now. A thread that is late with its answer still writes to it, so then it stays
        # open: its descriptor must not be another file's by that time.
        if self._dispatcher.in_progress == 0 and not self._thread.is_alive():
            self._server.trigger.close()


class _Dispatcher(ThreadedTaskDispatcher):
    """Starts a thread whenever none is idle, because other requests must not wait for long polls to end."""

    def __init__(self) -> None:
        super().__init__()
        # Guards the two attributes below. It is also held while a task is added, so no thread starts after ``stop``.
        self._changed = threading.Condition()
        self.in_progress = 0
        self._stopped = False

    def start_new_thread(self, target: Any, thread_no: int) -> None:
        """Start a thread. If that fails, the tasks wait for the threads that run.

        Some versions of Python start no threads once the interpreter exits, while clients still end
        their sessions.
        """
        try:
            super().start_new_thread(target, thread_no)
        except RuntimeError:
            # The caller has already counted the thread as running, and counts it as active next.
            self.threads.discard(thread_no)
            self.active_count -= 1

    def add_task(self, task: Any) -> None:
        """Run a task on a thread; cancel it if the dispatcher is stopped."""
        with self._changed:
            stopped = self._stopped
            if not stopped:
                self.in_progress += 1
                # Threads that are idle now are kept, for they may be needed again soon.
                self.set_thread_count(max(self.in_progress, len(self.threads) - self.stop_count))
                counted: Any = _Counted(task, self)
                super().add_task(counted)
        if stopped:
            task.cancel()

    def done(self) -> None:
        """Note that a task is over."""
        with self._changed:
            self.in_progress -= 1
            self._changed.notify_all()

    def stop(self, timeout: int) -> None:
        """Take no more tasks; wait up to ``timeout`` seconds for those in progress, then end the threads."""
        with self._changed:
            self._stopped = True
            self._changed.wait_for(lambda: self.in_progress == 0, timeout)
        self.shutdown(cancel_pending=True, timeout=1)


class _Counted:
    """A task that tells the dispatcher when it is over."""

    def __init__(self, task: Any, dispatcher: _Dispatcher) -> None:
        self._task = task
        self._dispatcher = dispatcher

    def service(self) -> None:
        """Answer the request."""
        try:
            self._task.service()
        finally:
            self._dispatcher.done()

    def cancel(self) -> None:
        """Close the connection without an answer."""
        self._task.cancel()
        self._dispatcher.done()


def _one_address(host: str) -> str:
    """The address to listen on: the first IPv4 address of ``host``, or the first of another kind if it has none.

    A name such as ``localhost`` may stand for several addresses; listening on each of them would take several ports.
    """
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    found.sort(key=lambda each: each[0] != socket.AF_INET)
    return str(found[0][4][0])
