"""An adapter of ``requests`` whose connections can be closed while other threads read from them."""

from __future__ import annotations

import collections
import contextlib
import email.errors
import io
import math
import queue
import socket
import time
from collections.abc import Callable
from functools import partial
from http.client import HTTPException, HTTPResponse
from typing import Any

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection

from tinkex.concurrency.living import Living

Interceptor = Callable[[PreparedRequest, Callable[[], Response]], Response]
interceptor: Interceptor | None = None
"""A function that answers the requests of all clients of this process. Its second argument asks the server."""


class CuttableAdapter(HTTPAdapter):
    """An ``HTTPAdapter`` whose ``close()`` ends every request in flight.

    A long poll blocks its thread in a read for up to a minute. Closing the pool does not wake the thread, since
    a connection in use is not in the pool, so this adapter remembers all connections that it makes.

    The adapter serves one host only, and omits features that the protocol does not use. Both together save a
    quarter of the cost of a call.
    """

    _pool: Any = None

    def __init__(self) -> None:
        self._connections = _Connections()
        super().__init__()

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        """Send a request, or give it to the ``interceptor`` if there is one."""
        if interceptor is None:
            return super().send(request, *args, **kwargs)
        return interceptor(request, partial(super().send, request, *args, **kwargs))

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pool manager, and record the connections of its pools."""
        super().init_poolmanager(*args, **kwargs)
        self._track(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> PoolManager:
        """Return the pool manager of a proxy, and record the connections of its pools."""
        manager: PoolManager = super().proxy_manager_for(proxy, **kwargs)
        self._track(manager)
        return manager

    def _track(self, manager: PoolManager) -> None:
        pools: Any = {
            "http": partial(_HTTPPool, connections=self._connections),
            "https": partial(_HTTPSPool, connections=self._connections),
        }
        manager.pool_classes_by_scheme = pools

    def get_connection_with_tls_context(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the pool of the one host that this adapter serves."""
        # requests would look up the pool by URL and TLS settings, which are the same for all calls here.
        if self._pool is None:
            self._pool = super().get_connection_with_tls_context(request, *args, **kwargs)
        return self._pool

    def build_response(self, req: Any, resp: Any) -> Response:
        """Return the answer without extracting cookies and guessing an encoding."""
        response = Response()
        response.status_code = resp.status
        response.headers = resp.headers
        response.raw = resp
        response.url = req.url
        response.request = req
        return response

    def close(self) -> None:
        """Close all connections, also those in use, so that requests in flight fail at once."""
        self._connections.cut()
        if self._pool is not None:
            self._pool.close()  # urllib3 would close the idle connections only when the pool is collected
        super().close()


class _Connections:
    """The connections of one adapter, to which it refers weakly."""

    def __init__(self) -> None:
        self._made: Living[Any] = Living()
        self._cut = False

    def add(self, connection: Any) -> None:
        """Remember ``connection``, which is not connected yet."""
        connection.siblings = self
        self._made.add(connection)

    def connected(self, connection: Any) -> None:
        """Shut a connection that has just been established, if ``cut`` has been called meanwhile."""
        if self._cut:
            _shut(connection)

    def cut(self) -> None:
        """Shut all connections, including those that are being established."""
        self._cut = True
        for connection in self._made.all():
            _shut(connection)


def _shut(connection: Any) -> None:
    sock = getattr(connection, "sock", None)
    if sock is not None:
        # An answer that vcrpy plays back has a stand-in for the socket, which has nothing to shut.
        with contextlib.suppress(OSError, AttributeError):
            sock.shutdown(socket.SHUT_RDWR)


class _Idle:
    """The idle connections of a pool, without a limit. The connection that was used last is taken first.

    urllib3 uses a bounded queue, which it fills with a placeholder for every possible connection. That takes
    milliseconds for the thousands of connections that a sampler may need. The queue also has a lock, which a fork
    may copy while it is held; this class has none.
    """

    def __init__(self, maxsize: int) -> None:
        self._idle: collections.deque[Any] = collections.deque()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        if item is not None:
            self._idle.append(item)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        try:
            return self._idle.pop()
        except IndexError:
            raise queue.Empty from None

    def empty(self) -> bool:
        """Return whether no connection is idle. vcrpy asks this, and ``qsize`` in its later versions."""
        return not self._idle

    def qsize(self) -> int:
        return len(self._idle)


SMALL = 16 * 1024
"""A body of up to this many bytes is sent together with the head of the request."""


class _Watched:
    """A mixin of connections that reports when they are established, and sends small requests in one piece.

    urllib3 sends the head and the body separately, which takes two system calls and two packets for each request.
    """

    siblings: _Connections
    _held: list[bytes] | None = None

    def request(self, method: str, url: str, body: Any = None, *args: Any, **options: Any) -> None:
        if not isinstance(body, bytes) or len(body) > SMALL:
            super().request(method, url, body, *args, **options)  # type: ignore[misc]
            return
        self._held = []
        try:
            super().request(method, url, body, *args, **options)  # type: ignore[misc]
            held, self._held = self._held, None
            self.send(b"".join(held))
        finally:
            self._held = None

    def send(self, data: Any) -> None:
        if self._held is not None:
            self._held.append(data)
        else:
            super().send(data)  # type: ignore[misc]

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        self.siblings.connected(self)


SLOWEST = 16 * 1024
"""An answer that takes long must bring at least this many bytes per second."""


class _Paced(io.RawIOBase):
    """Reads from a socket, and gives up on an answer that goes on without getting anywhere.

    The time-out of a socket is for each single read, so a byte now and then would keep a call going for
    ever. An answer must be complete within ``seconds`` of its first bytes; every ``SLOWEST`` bytes after
    the head extend this time by one second.
    """

    def __init__(self, raw: io.RawIOBase, seconds: float) -> None:
        self._raw = raw
        self._seconds = seconds
        self._deadline = math.inf
        self.in_head = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        count = self._raw.readinto(buffer)
        now = time.monotonic()
        if self._deadline == math.inf:
            self._deadline = now + self._seconds
        elif now > self._deadline:
            raise TimeoutError(f"the answer was not complete within {self._seconds:g} s")
        if count and not self.in_head:
            self._deadline += count / SLOWEST
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _PacedSource:
    """Makes the file that an answer is read from: that of ``sock``, paced if the socket has a time-out."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.paced: _Paced | None = None

    def makefile(self, mode: str) -> io.BufferedReader:
        raw: io.RawIOBase = self._sock.makefile("rb", buffering=0)
        seconds = self._sock.gettimeout()
        if seconds is not None:
            raw = self.paced = _Paced(raw, seconds)
        return io.BufferedReader(raw)


class _CheckedResponse(HTTPResponse):
    """Refuses malformed answers that its base class would accept, and answers that never end."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        source = _PacedSource(sock)
        super().__init__(source, *args, **kwargs)  # type: ignore[arg-type]  # which only calls makefile
        self._paced = source.paced

    def begin(self) -> None:
        super().begin()
        if self._paced is not None:
            self._paced.in_head = False
        # A head that breaks off is parsed as far as it goes. urllib3 would only log the defect, with the headers.
        defects = self.msg.defects
        if defects and any(isinstance(defect, _BROKEN_HEAD) for defect in defects):
            self.close()
            raise HTTPException("the head of the answer is malformed")
        length = self.msg.get("Content-Length")
        if length is not None and not length.strip().isdigit():  # http.client reads +20 as 20
            self.close()
            raise HTTPException("the length of the answer is malformed")

    def _read_next_chunk_size(self) -> int:
        size: int = super()._read_next_chunk_size()  # type: ignore[misc]
        if size < 0:  # -1 would mean everything that comes, without a bound
            raise ValueError("a chunk of negative size")
        return size


_BROKEN_HEAD = (
    email.errors.FirstHeaderLineIsContinuationDefect,
    email.errors.MisplacedEnvelopeHeaderDefect,
    email.errors.MissingHeaderBodySeparatorDefect,
)


class _HTTPConnection(_Watched, HTTPConnection):
    response_class = _CheckedResponse


class _HTTPSConnection(_Watched, HTTPSConnection):
    response_class = _CheckedResponse


class _Tracking:
    """A mixin of connection pools that records the connections that they make."""

    QueueCls: Any = _Idle

    def __init__(self, *args: Any, connections: _Connections, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connections = connections

    def _new_conn(self) -> Any:
        connection = super()._new_conn()  # type: ignore[misc]
        self._connections.add(connection)
        return connection


class _HTTPPool(_Tracking, HTTPConnectionPool):
    @property
    def ConnectionCls(self) -> Any:  # type: ignore[override]  # urllib3's name
        return _connection_class(_HTTPConnection, HTTPConnectionPool)


class _HTTPSPool(_Tracking, HTTPSConnectionPool):
    @property
    def ConnectionCls(self) -> Any:  # type: ignore[override]
        return _connection_class(_HTTPSConnection, HTTPSConnectionPool)


def _connection_class(own: type[Any], pool: type[Any]) -> Any:
    """Return the class of new connections: ``own``, unless a tool such as vcrpy has replaced that of ``pool``."""
    current = pool.ConnectionCls
    return own if issubclass(own, current) else current
