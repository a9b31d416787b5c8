"""The embedded server: started and stopped by hand, or one for this whole process."""

from __future__ import annotations

import atexit
import errno
import os
import re
import secrets
import socket
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from tinkex.local.app import App
from tinkex.local.state import State
from tinkex.local.web.hosts import Hosts
from tinkex.local.web.listener import Listener

_USABLE_KEY = re.compile(r"(tml-|eyJ)[!-~]+")
"""What clients, the official one among them, accept as a key."""
ANY_KEY = "tml-local"
"""The key that clients may use for a server without a key."""


class LocalServer:
    """A Tinker server in this process, which trains and samples the model ``tinkex/byte-lm``.

    Checkpoints are kept in ``directory``, together with those of earlier runs, or in memory if it is
    None. The server listens on ``host`` and ``port``; port 0 picks a free port. Clients must send
    ``api_key``; if it is None, any key is accepted. A session without a heartbeat for ``session_timeout``
    seconds is ended, and its models are freed. A long poll is held for ``poll_timeout`` seconds.

    A request must be addressed to a loopback name, ``host``, or one of ``allowed_hosts``. If the server
    listens on all interfaces (``host="0.0.0.0"``), a request may also be addressed to any IP address.

    A ``with`` block starts the server and stops it at the end. A stopped server can be started again,
    with the same port and the checkpoints in its directory. Raises ``ValueError`` for a ``port`` out of
    range, and for an ``api_key`` that no client could use.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str] | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        api_key: str | None = None,
        session_timeout: float = 300.0,
        poll_timeout: float = 30.0,
        allowed_hosts: Iterable[str] = (),
    ) -> None:
        if api_key is not None and not _USABLE_KEY.fullmatch(api_key):
            raise ValueError(
                "api_key must start with 'tml-' (or be a JWT, 'eyJ...') and be one word of ASCII"
            )
        if not 0 <= port <= 65535:
            raise ValueError(f"port must be 0 to 65535, not {port}")
        self._directory = None if directory is None else Path(directory)
        self._host = host
        self._port = port
        self._required_key = api_key
        self._session_timeout = session_timeout
        self._poll_timeout = poll_timeout
        self._hosts = Hosts(host, allowed_hosts)
        self._lock = threading.Lock()
        self._running: tuple[State, Listener] | None = None

    @property
    def api_key(self) -> str:
        """A key that this server accepts."""
        return self._required_key or ANY_KEY

    @property
    def base_url(self) -> str:
        """``http://HOST:PORT``, once it is started."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    def start(self) -> LocalServer:
        """Start the server, and return when it answers requests. Does nothing if the server runs.

        Raises ``OSError`` if the address cannot be used or the directory cannot be made. Its ``strerror`` says
        which of them, and why.
        """
        with self._lock:
            if self._running is None:
                try:
                    state = State(self._directory, self._session_timeout, self._poll_timeout)
                except OSError as error:
                    raise OSError(
                        error.errno, f"cannot keep checkpoints in {self._directory}: {error.strerror}"
                    ) from error
                try:
                    listener = Listener(App(state, self._hosts, self._required_key), self._host, self._port)
                except OSError as error:
                    state.close()
                    raise OSError(error.errno, _why_not(self._host, self._port, error)) from error
                except BaseException:
                    state.close()
                    raise
                self._port = listener.port
                self._running = state, listener
        return self

    def stop(self) -> None:
        """Answer the long polls, close the connections, end the threads. Does nothing if the server is stopped.

        A forked child cannot stop the server, which belongs to the parent: there the call does
        nothing.
        """
        with self._lock:
            running, self._running = self._running, None
        if running is not None:
            state, listener = running
            if listener.is_of_this_process:
                state.close()
                listener.stop()

    def __enter__(self) -> LocalServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<LocalServer {self.base_url} {'running' if self._running else 'stopped'}>"


def _why_not(host: str, port: int, error: OSError) -> str:
    """Return why a server cannot listen on ``host`` and ``port``."""
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"cannot listen on {host}: it is not an address of this machine"
    reason = "the port is in use; 0 takes a free one" if error.errno == errno.EADDRINUSE else error.strerror
    return f"cannot listen on {host}:{port}: {reason}"


_embedded: dict[str | None, LocalServer] = {}
_embedded_lock = threading.Lock()


def embedded(directory: str | None = None) -> LocalServer:
    """Return this process's own server for ``directory``, which the first call starts.

    Without a directory, checkpoints are kept in memory. The key of the server is random and known only in
    this process. The server stops at interpreter exit. A forked child uses the server of its parent.
    """
    place = None if directory is None else os.path.abspath(os.path.expanduser(directory))
    with _embedded_lock:
        server = _embedded.get(place)
        if server is None:
            server = LocalServer(place, api_key=f"tml-{secrets.token_urlsafe(32)}").start()
            _embedded[place] = server
            atexit.register(server.stop)
        return server


def _fresh_lock() -> None:
    global _embedded_lock
    _embedded_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fresh_lock)
