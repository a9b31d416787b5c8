"""A Tinker server for tests: real HTTP on 127.0.0.1, sensible by default, misbehaving on command.

    with ScriptedServer() as server:
        server.once("/asample", 429, Reset())           # the next two; then as usual again
        server.on("/session_heartbeat", Reply(delay=0.05))
        ...
        server.requests.wait_for("/asample", 3)

Paths are given with or without ``/api/v1`` and may hold wildcards (``/sessions/*/finish``). A reply is one of

- a dict: JSON with status 200; an int: that status; ``Reply``: status, body, headers, delay;
- ``Hang()``: no answer until ``release()`` or the client gives up; ``Reset()``: the connection breaks;
- ``None``: what the server says by default;
- a function of the ``Request`` that returns any of these.
"""

from __future__ import annotations

import collections
import contextlib
import fnmatch
import http.server
import itertools
import json
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Union

PREFIX = "/api/v1"
BEAT = "/session_heartbeat"
FINISH = "/sessions/*/finish"
NOT_YET = {"type": "try_again", "queue_state": "active", "request_id": "x"}
"""The answer of a long poll that has run out."""


@dataclass(frozen=True)
class Request:
    """A request as it arrived. ``time`` is ``time.monotonic()``; ``connection`` numbers the connections."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    """With names in lower case."""
    body: bytes
    time: float
    connection: int

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """An answer. ``body`` is sent as JSON unless it is bytes; ``delay`` (seconds) comes before it."""

    status: int = 200
    body: object = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0


class Hang:
    """Accepts the request and says nothing until released; then gives ``then``."""

    def __init__(self, then: Scripted = None) -> None:
        self.then = then
        self.released = threading.Event()

    def release(self) -> None:
        self.released.set()


@dataclass(frozen=True)
class Reset:
    """Breaks the connection, after reading the body or ``before`` it."""

    before: bool = False


Scripted = Union[None, int, "dict[str, Any]", Reply, Hang, Reset, Callable[[Request], Any]]


class Requests:
    """What has arrived, in order. Safe to use from many threads."""

    def __init__(self) -> None:
        self._all: list[Request] = []
        self._changed = threading.Condition()

    def __iter__(self) -> Iterator[Request]:
        with self._changed:
            return iter(list(self._all))

    def __len__(self) -> int:
        with self._changed:
            return len(self._all)

    def to(self, path: str) -> list[Request]:
        """Those whose path matches."""
        return [request for request in self if _matches(request.path, path)]

    def wait_for(self, path: str, count: int = 1, timeout: float = 60.0) -> list[Request]:
        """Wait until ``count`` requests to ``path`` have arrived; all of them. Fails after ``timeout`` s."""
        with self._changed:
            self._changed.wait_for(lambda: len(self.to(path)) >= count, timeout)
            found = self.to(path)
        assert len(found) >= count, f"{len(found)} of {count} requests to {path} within {timeout} s"
        return found

    def clear(self) -> None:
        with self._changed:
            self._all.clear()

    def add(self, request: Request) -> None:
        with self._changed:
            self._all.append(request)
            self._changed.notify_all()


class ScriptedServer:
    """A context manager; see the module. ``url`` is the base URL for clients."""

    def __init__(self, port: int = 0) -> None:
        self.requests = Requests()
        self._lock = threading.Condition()
        self._always: dict[str, Scripted] = {}
        self._next: dict[str, collections.deque[Scripted]] = {}
        self._hanging: set[Hang] = set()
        self._connections: set[socket.socket] = set()
        self._connection_numbers = itertools.count(1)
        self._stopping = False
        self._http = _HTTPServer(("127.0.0.1", port), _Handler)
        self._http.scripted = self
        self.port: int = self._http.server_address[1]
        self._tinker = _Tinker(self.port)
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(
            target=self._http.serve_forever,
            kwargs={"poll_interval": 0.01},
            name="scripted-server",
            daemon=True,
        )

    def __enter__(self) -> ScriptedServer:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        with self._lock:
            self._stopping = True
            hanging, connections = list(self._hanging), list(self._connections)
        for hang in hanging:
            hang.release()
        self._http.shutdown()
        self._http.server_close()
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(60)

    def on(self, path: str, reply: Scripted) -> None:
        """Answer every request to ``path`` with ``reply`` from now on."""
        with self._lock:
            self._always[path] = reply

    def once(self, path: str, *replies: Scripted) -> None:
        """Answer the next requests to ``path`` with ``replies``, one each."""
        with self._lock:
            self._next.setdefault(path, collections.deque()).extend(replies)

    @property
    def open_connections(self) -> int:
        """How many clients are connected."""
        with self._lock:
            return len(self._connections)

    def wait_for_connections(self, count: int, timeout: float = 60.0) -> None:
        """Wait until exactly ``count`` connections are open."""
        with self._lock:
            self._lock.wait_for(lambda: len(self._connections) == count, timeout)
            now = len(self._connections)
        assert now == count, f"{now} connections open after {timeout} s, not {count}"

    def answer(self, request: Request, reply: Scripted) -> Reply | Hang | Reset:
        """What ``reply`` means for ``request``."""
        if callable(reply):
            return self.answer(request, reply(request))
        if reply is None:
            return self.answer(request, self._tinker.answer(request))
        if isinstance(reply, int):
            return Reply(reply, {"detail": f"scripted {reply}"} if reply >= 400 else {})
        return Reply(200, reply) if isinstance(reply, dict) else reply

    def script_for(self, path: str) -> Scripted:
        with self._lock:
            for pattern, queue in self._next.items():
                if queue and _matches(path, pattern):
                    return queue.popleft()
            return next((reply for pattern, reply in self._always.items() if _matches(path, pattern)), None)

    def hang(self, hang: Hang, connection: socket.socket) -> bool:
        """Wait for the release; False if there is nobody to answer any more."""
        with self._lock:
            self._hanging.add(hang)
            if self._stopping:
                hang.release()
        while not hang.released.wait(0.05):
            if select.select([connection], [], [], 0)[0] and not connection.recv(1, socket.MSG_PEEK):
                return False
        return not self._stopping

    def opened(self, connection: socket.socket) -> int:
        with self._lock:
            self._connections.add(connection)
            self._lock.notify_all()
            return next(self._connection_numbers)

    def closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.discard(connection)
            self._lock.notify_all()


class _HTTPServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024
    scripted: ScriptedServer

    def server_bind(self) -> None:
        # Without the name look-up of the base class.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are none of the test's business."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _HTTPServer

    def setup(self) -> None:
        super().setup()
        self.number = self.server.scripted.opened(self.connection)

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            self.server.scripted.closed(self.connection)

    def handle_any(self) -> None:
        scripted = self.server.scripted
        path, _, query = self.path.partition("?")
        script = scripted.script_for(path)
        body = b""
        if not (isinstance(script, Reset) and script.before):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, path, query, headers, body, time.monotonic(), self.number)
        scripted.requests.add(request)
        reply = scripted.answer(request, script)
        while isinstance(reply, Hang):
            if not scripted.hang(reply, self.connection):
                self.close_connection = True
                return
            reply = scripted.answer(request, reply.then)
        if isinstance(reply, Reset):
            # With this a close sends RST instead of FIN.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
            return
        if reply.delay:
            time.sleep(reply.delay)
        content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        self.send_response_only(reply.status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(content)), **reply.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = handle_any

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


class _Tinker:
    """The answers of a server that does as it should: work is done as soon as it is asked for."""

    def __init__(self, name: int) -> None:
        self._name = name
        self._numbers = itertools.count(1)
        self._results: dict[str, dict[str, Any]] = {}

    def answer(self, request: Request) -> Scripted:
        path = request.path.removeprefix(PREFIX)
        if request.method == "GET":
            return self._get(path)
        if path == "/forward_backward" and request.headers.get("content-type") != "application/json":
            return 415
        body: dict[str, Any] = request.json() if request.body else {}
        if path == "/retrieve_future":
            return self._results.get(body["request_id"], 404)
        result = self._result(path, body)
        if result is not None:
            request_id = f"request-{next(self._numbers)}"
            self._results[request_id] = result
            return {"request_id": request_id}
        return self._at_once(path, body)

    def _get(self, path: str) -> Scripted:
        if path == "/healthz":
            return {"status": "ok"}
        if path == "/get_server_capabilities":
            return {"supported_models": [{"model_name": "base"}]}
        if path.startswith("/samplers/"):
            return {"sampler_id": path.rpartition("/")[2], "base_model": "base"}
        return 404

    def _at_once(self, path: str, body: dict[str, Any]) -> Scripted:
        if path == "/create_session":
            return {"session_id": f"session-{self._name}-{next(self._numbers)}"}
        if path == "/create_sampling_session":
            return {"sampling_session_id": f"{body['session_id']}:sample:{body['sampling_session_seq_id']}"}
        if path == "/get_info":
            return {"model_id": body["model_id"], "model_data": {"model_name": "base"}}
        if path == "/weights_info":
            return {"base_model": "base", "is_lora": True, "lora_rank": 8}
        known = ("/client/config", "/client/dynamic_config", "/session_heartbeat", "/cancel_future")
        return {} if path in known or fnmatch.fnmatch(path, "/sessions/*/finish") else 404

    def _result(self, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """What becomes of a request that is answered with a promise."""
        if path == "/create_model" or (path == "/load_weights" and "model_seq_id" in body):
            return {"model_id": f"{body['session_id']}:train:{body['model_seq_id']}"}
        if path == "/asample":
            sequence = {"tokens": [1, 2, 3], "logprobs": [-0.5, -0.5, -0.5], "stop_reason": "length"}
            answer: dict[str, Any] = {"sequences": [sequence] * body["num_samples"]}
            if body.get("prompt_logprobs"):
                tokens = sum(len(chunk["tokens"]) for chunk in body["prompt"]["chunks"])
                answer["prompt_logprobs"] = [None] + [-1.0] * (tokens - 1)
            return answer
        if path in ("/forward_backward", "/forward"):
            data = (body.get("forward_backward_input") or body["forward_input"])["data"]
            targets = [datum["loss_fn_inputs"]["target_tokens"]["data"] for datum in data]
            outputs = [{"logprobs": {"data": [-1.0] * len(t), "dtype": "float32"}} for t in targets]
            metrics = {"loss:sum": float(sum(map(len, targets)))}
            return {"loss_fn_output_type": "logprobs", "loss_fn_outputs": outputs, "metrics": metrics}
        if path == "/save_weights_for_sampler" and "path" not in body:
            return {"sampling_session_id": f"{body['model_id']}:sample:{body['sampling_session_seq_id']}"}
        if path.startswith("/save_weights"):
            kind = "weights" if path == "/save_weights" else "sampler_weights"
            return {"path": f"tinker://{body['model_id']}/{kind}/{body['path']}"}
        if path == "/optim_step":
            return {"metrics": None}
        return {"type": path[1:]} if path in ("/load_weights", "/unload_model") else None


def _matches(path: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(path.removeprefix(PREFIX), pattern.removeprefix(PREFIX))
