"""The embedded server: started and stopped by hand, or one for this whole process."""

from __future__ import annotations

import atexit
import errno
import os
import re
import secrets
import socket
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType

from tinkex.local.app import App
from tinkex.local.model.offered import BYTE_LM, OfferedModel
from tinkex.local.offers import offer, wanted_models
from tinkex.local.state import State
from tinkex.local.web.hosts import Hosts
from tinkex.local.web.listener import Listener
from tinkex.observability import server_warnings

_USABLE_KEY = re.compile(r"(tml-|eyJ)[!-~]+")
"""What clients, the official one among them, accept as a key."""
ANY_KEY = "tml-local"
"""The key that clients may use for a server without a key."""


class LocalServer:
    """A Tinker server in this process, which trains and samples the model ``tinkex/byte-lm``, and ``models``.

    ``models`` maps the names of other models to the sizes of their vocabularies, as in ``{"Qwen/Qwen3-8B": 151936}``.
    Such a model answers under its real name and for the token ids of its real tokenizer, with a network that is small
    enough for a laptop, which is trained and sampled in earnest. For a size of None, the tokenizer of the model is
    loaded when the server starts. ``models`` may also be a list of texts ``NAME`` or ``NAME=SIZE``.

    With ``strict``, the server also refuses what only the hosted service refuses, and warns of what is likely to be a
    mistake; ``docs/rehearsals.md`` has the list.

    Checkpoints are kept in ``directory``, together with those of earlier runs, or in memory if it is
    None. The server listens on ``host`` and ``port``; port 0 picks a free port. Clients must send
    ``api_key``; if it is None, any key is accepted. A session without a heartbeat for ``session_timeout``
    seconds is ended, and its models are freed. A long poll is held for ``poll_timeout`` seconds.

    A request must be addressed to a loopback name, ``host``, or one of ``allowed_hosts``. If the server
    listens on all interfaces (``host="0.0.0.0"``), a request may also be addressed to any IP address.

    A ``with`` block starts the server and stops it at the end. A stopped server can be started again,
    with the same port and the checkpoints in its directory. Raises ``ValueError`` for a ``port`` out of
    range, and for an ``api_key`` that no client could use, and ``ConfigError``, a child of it, if ``models`` is not
    valid, or if the tokenizer of one cannot be loaded when the server starts.

    Example::

        from tinkex.local import LocalServer

        with LocalServer(models={"Qwen/Qwen3-8B": 151936}, strict=True) as server:
            with tinkex.ServiceClient(base_url=server.base_url, api_key=server.api_key) as service:
                training = service.create_lora_training_client("Qwen/Qwen3-8B", rank=8)
                print(training.get_info().model_name)
    """

    def __init__(
        self,
        directory: str | os.PathLike[str] | None = None,
        *,
        models: Mapping[str, int | None] | Iterable[str] = (),
        strict: bool = False,
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
        self._wanted = wanted_models(models)
        self._offered: list[OfferedModel] | None = None
        self._strict = strict
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
        which of them, and why. Raises ``ConfigError`` if the tokenizer of a model cannot be loaded.
        """
        if self._offered is None:
            # The models that were asked for come first, since clients may take the first one by default.
            self._offered = [*(offer(name, size) for name, size in self._wanted.items()), BYTE_LM]
        with self._lock:
            if self._running is None:
                try:
                    state = State(
                        self._directory,
                        self._session_timeout,
                        self._poll_timeout,
                        self._offered,
                        strict=self._strict,
                    )
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
        self._stop()

    def _stop(self) -> list[str]:
        """Do what ``stop`` does; return the warnings of a strict server."""
        with self._lock:
            running, self._running = self._running, None
        if running is None or not running[1].is_of_this_process:
            return []
        state, listener = running
        warnings = state.close()
        listener.stop()
        return warnings

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


_embedded: dict[tuple[str | None, tuple[str, ...], bool], LocalServer] = {}
_embedded_lock = threading.Lock()


def embedded(
    directory: str | None = None, *, models: Iterable[str] = (), strict: bool = False
) -> LocalServer:
    """Return this process's own server for these arguments, which the first call starts.

    They are those of ``LocalServer``; a model is given as ``NAME`` or ``NAME=SIZE``. Without a directory, checkpoints
    are kept in memory. The key of the server is random and known only in
    this process. The server stops at interpreter exit. A forked child uses the server of its parent.
    """
    place = None if directory is None else os.path.abspath(os.path.expanduser(directory))
    identity = place, tuple(models), strict
    with _embedded_lock:
        known = _embedded.get(identity)
    if known is not None:
        return known
    # The server is started without the lock, since a tokenizer may take long to load.
    key = f"tml-{secrets.token_urlsafe(32)}"
    started = LocalServer(place, models=identity[1], strict=strict, api_key=key).start()
    with _embedded_lock:
        server = _embedded.setdefault(identity, started)
    if server is started:
        atexit.register(_stop_at_exit, server)
    else:  # another thread was faster
        started.stop()
    return server


def _stop_at_exit(server: LocalServer) -> None:
    # The server stops before the sessions that are still open can end, so it has to warn for itself.
    for text in server._stop():
        server_warnings.issue(text, server.base_url)


def _fresh_lock() -> None:
    global _embedded_lock
    _embedded_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fresh_lock)
