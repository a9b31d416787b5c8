"""The sockets and threads of a test server: a thread for each connection, which may be broken at will."""

from __future__ import annotations

import contextlib
import http.server
import itertools
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

_CHECK = 0.02  # seconds between two looks at whether a client that waits is still there
_JOIN = 2.0  # seconds that a stopping listener waits for all its threads together


class Answer(NamedTuple):
    """An answer as it is sent. With ``cut`` only so many bytes of the content are sent before the end."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    cut: int | None = None


class Connection(http.server.BaseHTTPRequestHandler):
    """One connection of a client. ``epoch`` is whatever ``Listener.epoch`` was when it was opened."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    number: int
    epoch: object

    def __init__(
        self, sock: socket.socket, address: Any, listener: Listener, number: int, epoch: object
    ) -> None:
        self.number = number
        self.epoch = epoch
        self.listener = listener
        super().__init__(sock, address, listener)  # type: ignore[arg-type]  # which it only keeps

    def handle_any(self) -> None:
        """Answer the request whose head has been read."""
        try:
            self.listener.answer(self)
        except OSError:  # the client is gone
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = handle_any

    def read_body(self) -> bytes:
        """The body of the request."""
        length = self.headers.get("Content-Length") or "0"
        return self.rfile.read(int(length)) if length.isdecimal() else b""

    def send(self, answer: Answer) -> None:
        """Send an answer."""
        self.send_response_only(answer.status)
        headers = dict(answer.headers)
        if answer.status not in (204, 304) and "content-length" not in {name.lower() for name in headers}:
            headers["Content-Length"] = str(len(answer.content))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD" or answer.status in (204, 304):
            return
        self.wfile.write(answer.content[: answer.cut])
        if answer.cut is not None:
            self.wfile.flush()
            self.close_connection = True

    def reset(self) -> None:
        """Break the connection: the client sees a reset."""
        self.close_connection = True
        # With this a close sends RST instead of FIN.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def wait(self, done: Callable[[], bool], event: threading.Event, seconds: float | None) -> bool:
        """Wait until ``event`` is set, ``done()`` is true or ``seconds`` are over; False if the client left."""
        end = None if seconds is None else time.monotonic() + seconds
        while not (event.is_set() or done()):
            left = _CHECK if end is None else min(_CHECK, end - time.monotonic())
            if left <= 0:
                return True
            event.wait(left)
            if self._client_left():
                self.close_connection = True
                return False
        return True

    def _client_left(self) -> bool:
        try:
            readable = select.select([self.connection], [], [], 0)[0]
            return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)
        except (OSError, ValueError):
            return True

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


class Listener:
    """Accepts connections on 127.0.0.1 until ``stop``. ``answer`` answers one request of a connection.

    Port 0 stands for a free one. Raises ``OSError`` if the port is taken.
    """

    def __init__(self, port: int, answer: Callable[[Connection], None], epoch: object) -> None:
        self.answer = answer
        self.epoch = epoch
        """What new connections are marked with."""
        self._changed = threading.Condition()
        self._connections: dict[socket.socket, tuple[threading.Thread, object]] = {}
        self._numbers = itertools.count(1)
        self._socket = socket.socket()
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(("127.0.0.1", port))
            self._socket.listen(1024)
        except OSError:
            self._socket.close()
            raise
        self.port: int = self._socket.getsockname()[1]
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._accept, name="tinkex-testing-http", daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            ready = select.select([self._socket, self._woken], [], [])[0]
            if self._woken in ready:
                break
            with contextlib.suppress(OSError):  # the client has left already
                self._serve(*self._socket.accept())
        for sock in (self._socket, self._wake, self._woken):
            sock.close()

    def _serve(self, sock: socket.socket, address: Any) -> None:
        number = next(self._numbers)
        name = f"tinkex-testing-connection-{number}"
        thread = threading.Thread(
            target=self._handle, args=(sock, address, number, self.epoch), name=name, daemon=True
        )
        with self._changed:
            self._connections[sock] = thread, self.epoch
            self._changed.notify_all()
        try:
            thread.start()
        except RuntimeError:  # the system has no more threads, or the interpreter exits
            self._closed(sock)

    def _handle(self, sock: socket.socket, address: Any, number: int, epoch: object) -> None:
        try:
            with contextlib.suppress(OSError, ValueError):  # the client has left, or speaks no HTTP
                Connection(sock, address, self, number, epoch)
        finally:
            self._closed(sock)

    def _closed(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        sock.close()
        with self._changed:
            self._connections.pop(sock, None)
            self._changed.notify_all()

    @property
    def open_connections(self) -> int:
        """How many connections of the present epoch are open."""
        with self._changed:
            return self._count()

    def wait_for_connections(self, count: int, timeout: float) -> int:
        """Wait until exactly ``count`` connections of the present epoch are open; return how many are."""
        with self._changed:
            self._changed.wait_for(lambda: self._count() == count, timeout)
            return self._count()

    def _count(self) -> int:
        return sum(epoch is self.epoch for _, epoch in self._connections.values())

    def cut(self) -> None:
        """Break all connections."""
        with self._changed:
            sockets = list(self._connections)
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """Close the port and all connections, and end the threads."""
        self._wake.send(b"x")
        self._thread.join(_JOIN)
        with self._changed:
            threads = [thread for thread, _ in self._connections.values()]
        self.cut()
        end = time.monotonic() + _JOIN
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
