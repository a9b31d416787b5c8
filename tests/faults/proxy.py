"""An HTTP proxy on 127.0.0.1 that passes everything on, except where it has been told to misbehave.

It works on raw sockets, so that an answer may be anything at all: no answer, half of one, or bytes that are
no HTTP. Requests are read properly, and the server behind it is asked properly.
"""

from __future__ import annotations

import collections
import contextlib
import fnmatch
import http.client
import json
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

PREFIX = "/api/v1"
Mode = Literal["once", "while", "ever"]
MODES: tuple[Mode, ...] = ("once", "while", "ever")
WHILE_HITS = 3
"""How many requests a fault of mode ``while`` hits."""
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "date"})
_SERVER_SECONDS = 60.0


@dataclass(frozen=True)
class Site:
    """Where a fault strikes: the requests of one method whose path, without its prefix, fits ``pattern``."""

    method: str
    pattern: str

    def fits(self, request: Request) -> bool:
        return request.method == self.method and fnmatch.fnmatchcase(request.path, self.pattern)


@dataclass(frozen=True)
class Request:
    """A request as it arrived. ``path`` is without host, prefix and query; ``target`` is as it was sent."""

    method: str
    target: str
    path: str
    headers: Mapping[str, str]
    """With names in lower case."""
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    """An HTTP answer that is well formed unless ``headers`` say otherwise."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, status: int, document: object, **headers: str) -> Answer:
        return cls(status, json.dumps(document).encode(), {"Content-Type": "application/json", **headers})

    def head(self) -> bytes:
        """The status line and the headers, with the empty line after them."""
        fields = {"Content-Length": str(len(self.body)), **self.headers}
        lines = [f"HTTP/1.1 {self.status} {http.client.responses.get(self.status, 'Odd')}"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def encode(self) -> bytes:
        return self.head() + self.body


class Exchange:
    """One request and what is done about it; handed to the fault that plays."""

    def __init__(
        self, proxy: FaultProxy, client: socket.socket, upstream: Upstream, request: Request
    ) -> None:
        self.proxy = proxy
        self.request = request
        self.keep = True
        """Whether the connection goes on afterwards."""
        self.mode: Mode = "once"
        self._client = client
        self._upstream = upstream

    def ask(self, **headers: str) -> Answer:
        """Have the server do what the request asks for; its answer. ``headers`` replace the client's own."""
        standing = self.proxy.standing_for(self.request)
        return standing or self.proxy.edited(self.request, self._upstream.ask(self.request, headers))

    def send(self, data: bytes) -> bool:
        """Give ``data`` to the client as it is; False if the client is gone."""
        try:
            self._client.sendall(data)
        except OSError:
            self.keep = False
            return False
        return True

    def end(self) -> None:
        """Close the connection properly."""
        self.keep = False

    def reset(self) -> None:
        """Break the connection: the client sees a reset."""
        self.keep = False
        reset(self._client)

    def hold(self, seconds: float = 3600.0) -> bool:
        """Do nothing until ``seconds`` are over (True), the client leaves or the fault is over (False)."""
        end = time.monotonic() + seconds
        plan = self.proxy.plan
        while time.monotonic() < end:
            if plan.over.wait(min(0.05, max(0.0, end - time.monotonic()))):
                self.keep = False
                return False
            try:
                if select.select([self._client], [], [], 0)[0] and not self._client.recv(1, socket.MSG_PEEK):
                    self.keep = False
                    return False
            except (OSError, ValueError):
                self.keep = False
                return False
        return True


Play = Callable[[Exchange], None]
"""What a fault does with one request."""


class Unread:
    """A play that wants the request's body left unread."""

    def __init__(self, play: Play) -> None:
        self.play = play

    def __call__(self, exchange: Exchange) -> None:
        self.play(exchange)


class Plan:
    """Which play each request gets: ``plays`` one after the other, the last one again as ``mode`` says."""

    def __init__(self, site: Site | None, plays: tuple[Play, ...], mode: Mode) -> None:
        self.over = threading.Event()
        self.mode = mode
        self.hits = 0
        self._site = site
        self._plays = plays
        extra = {"once": 0, "while": WHILE_HITS - 1, "ever": 1 << 30}[mode]
        self._limit = len(plays) + extra
        self._changed = threading.Condition()

    def play_for(self, request: Request) -> Play | None:
        if self._site is None or self.over.is_set() or not self._site.fits(request):
            return None
        with self._changed:
            if self.hits >= self._limit:
                return None
            play = self._plays[min(self.hits, len(self._plays) - 1)]
            self.hits += 1
            self._changed.notify_all()
            return play

    def wait_for_hits(self, count: int, timeout: float) -> bool:
        """Wait until ``count`` requests were hit, or all that the plan wants to hit."""
        with self._changed:
            return self._changed.wait_for(lambda: self.hits >= min(count, self._limit), timeout)


NO_PLAN = Plan(None, (), "once")


class FaultProxy:
    """A context manager; ``url`` is the base URL for clients. One plan is carried out at a time."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        self._closed = threading.Event()
        self._passed = threading.Condition()
        self.plan = NO_PLAN
        self.between: Callable[[Request], Play | None] = lambda request: None
        """Asked for a play where the plan has none."""
        self.other_url = ""
        """Where a redirect leads: the URL of somebody else's server."""
        self.flags: dict[str, Any] = {}
        """Put over those that the server gives its clients."""
        self.standing: dict[str, Answer] = {}
        """Answers, by pattern of the path, that stand for the server's."""
        self.log: collections.deque[str] = collections.deque(maxlen=60)
        """The last requests, and what was done with each."""
        self.passed: collections.Counter[str] = collections.Counter()
        """How many requests to each path went through untouched."""
        self.earlier: dict[str, Answer] = {}
        """The last untouched answer of each path."""
        self._listener = _listen(0)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._accepting = self._start(self._accept, self._listener)

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.disarm()
        self._closed.set()
        self._stop_listening()
        self.drop_connections()
        for thread in list(self._threads):
            thread.join(2)

    def arm(self, site: Site, plays: tuple[Play, ...], mode: Mode) -> Plan:
        """Let ``plays`` strike at ``site`` until ``disarm``."""
        self.disarm()
        self.plan = Plan(site, plays, mode)
        return self.plan

    def disarm(self) -> None:
        """End the plan: what it holds up is let go, and all goes through again."""
        plan, self.plan = self.plan, NO_PLAN
        if plan is not NO_PLAN:
            plan.over.set()
        self.accept_again()

    def refuse(self, seconds: float, plan: Plan) -> None:
        """Listen no more for ``seconds``, or until the plan is over, and break all connections."""
        self._stop_listening()
        self.drop_connections()

        def later() -> None:
            plan.over.wait(seconds)
            self.accept_again()

        self._start(later)

    def accept_again(self) -> None:
        with self._lock:
            if self._closed.is_set() or self._listener.fileno() >= 0:
                return
            self._listener = _listen(self.port)
            self._accepting = self._start(self._accept, self._listener)

    def drop_connections(self) -> None:
        """Break every connection to a client."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            reset(connection)

    def wait_for_passed(self, path: str, count: int, timeout: float) -> bool:
        """Wait until ``count`` requests to ``path`` have gone through untouched."""
        with self._passed:
            return self._passed.wait_for(lambda: self.passed[path] >= count, timeout)

    def standing_for(self, request: Request) -> Answer | None:
        """The answer that stands for the server's, if there is one."""
        fits = (given for path, given in self.standing.items() if fnmatch.fnmatchcase(request.path, path))
        return next(fits, None)

    def edited(self, request: Request, answer: Answer) -> Answer:
        """The server's answer with this proxy's standing changes."""
        if request.path == "/client/config" and self.flags and answer.status == 200:
            return replace(answer, body=json.dumps({**json.loads(answer.body), **self.flags}).encode())
        return answer

    def _stop_listening(self) -> None:
        with self._lock:
            listener, thread = self._listener, self._accepting
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        if thread is not threading.current_thread():
            thread.join(2)

    def _start(self, target: Callable[..., None], *args: Any) -> threading.Thread:
        def run() -> None:
            try:
                target(*args)
            finally:
                self._threads.discard(threading.current_thread())

        thread = threading.Thread(target=run, name="fault-proxy", daemon=True)
        self._threads.add(thread)
        thread.start()
        return thread

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                self._connections.add(client)
            self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        upstream = Upstream(*self._server)
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with client.makefile("rb") as reader:
                while self._serve_one(client, reader, upstream):
                    pass
        except (OSError, ValueError):
            pass  # the client is gone, which is its right
        finally:
            upstream.close()
            with self._lock:
                self._connections.discard(client)
            client.close()

    def _serve_one(self, client: socket.socket, reader: Any, upstream: Upstream) -> bool:
        head = _read_head(reader)
        if head is None:
            return False
        plan = self.plan
        play = plan.play_for(head) or self.between(head)
        if isinstance(play, Unread):
            request = head
        else:
            request = replace(head, body=reader.read(int(head.headers.get("content-length") or 0)))
        exchange = Exchange(self, client, upstream, request)
        exchange.mode = plan.mode
        if play is not None:
            self.log.append(f"{request.method} {request.path}: {getattr(play, 'name', 'fault')}")
            play(exchange)
            return exchange.keep
        try:
            answer = exchange.ask()
        except (OSError, http.client.HTTPException):
            reset(client)  # the server is not there
            return False
        self.log.append(f"{request.method} {request.path}: passed, {answer.status}")
        with self._passed:
            self.passed[request.path] += 1
            self.earlier[request.path] = answer
            self._passed.notify_all()
        return exchange.send(answer.encode())


class Upstream:
    """The connection to the server of one client connection."""

    def __init__(self, host: str, port: int) -> None:
        self._connection = http.client.HTTPConnection(host, port, timeout=_SERVER_SECONDS)

    def ask(self, request: Request, headers: Mapping[str, str]) -> Answer:
        given = {name.lower(): value for name, value in headers.items()}
        sent = {n: v for n, v in {**request.headers, **given}.items() if n not in _HOP_BY_HOP}
        target = request.target[request.target.find(PREFIX) :] if PREFIX in request.target else request.target
        try:
            self._connection.request(request.method, target, request.body or None, sent)
            response = self._connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionError):
            # The server closed an idle connection, or was restarted; a new one tells.
            self._connection.close()
            self._connection.request(request.method, target, request.body or None, sent)
            response = self._connection.getresponse()
        body = response.read()
        kept = {name: value for name, value in response.getheaders() if name.lower() not in _HOP_BY_HOP}
        return Answer(response.status, body, kept)

    def close(self) -> None:
        self._connection.close()


class OtherHost:
    """Somebody else's server: remembers the heads of the requests that it gets, and answers 200 ``{}``."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self._listener = _listen(0)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._accept, name="fault-other-host", daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(2)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                client.settimeout(1)
                self.requests.append(client.recv(65536).decode("latin-1"))
                client.sendall(Answer.of(200, {}, Connection="close").encode())


def reset(connection: socket.socket) -> None:
    """Let the other side see a reset as soon as the connection's own thread closes it, which it does now."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RD)  # wakes whoever reads from it, and closes it then


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(1024)
    return listener


def _read_head(reader: Any) -> Request | None:
    line = reader.readline(65536).decode("latin-1").split()
    if len(line) != 3:
        return None
    headers: dict[str, str] = {}
    while (header := reader.readline(65536)) not in (b"\r\n", b"\n", b""):
        name, _, value = header.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    path = line[1].partition("?")[0]
    return Request(
        line[0], line[1], path[path.find(PREFIX) + len(PREFIX) :] if PREFIX in path else path, headers
    )
