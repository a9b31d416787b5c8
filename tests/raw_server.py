"""A server that answers every request with given bytes, which need not be HTTP, and closes the connection."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Iterator

Answer = Iterable[bytes] | Callable[[bytes], Iterable[bytes]]
"""The pieces of an answer, or a function that makes them of the head and body of the request."""


@contextlib.contextmanager
def raw_server(answer: Answer) -> Iterator[str]:
    """Run the server; gives its base URL."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        thread = threading.Thread(target=_serve, args=(listening, answer), name="raw-server", daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(60)


def head(status: str = "200 OK", **headers: object) -> bytes:
    """The head of an answer. Underscores in the names of headers are written as hyphens."""
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _serve(listening: socket.socket, answer: Answer) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        # A client that has read enough closes its side.
        with connection, contextlib.suppress(OSError):
            connection.settimeout(10)
            request = _request(connection)
            for piece in answer(request) if callable(answer) else answer:
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 16):
                pass


def _request(connection: socket.socket) -> bytes:
    request = b""
    while b"\r\n\r\n" not in request:
        request += connection.recv(1 << 16)
    start, _, body = request.partition(b"\r\n\r\n")
    lines = start.lower().split(b"\r\n")
    length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")), 0)
    while len(body) < length:
        body += connection.recv(1 << 16)
    return start + b"\r\n\r\n" + body
