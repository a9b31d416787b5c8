"""Connections: kept, proxied, refused and closed."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from clients import client_of

import tinkex
from tinkex import Config, ServiceClient, metrics
from tinkex.http.transport import Transport
from tinkex.testing import Hang, Reply, Request, TinkerServer


def test_closing_ends_a_request_in_flight_at_once(server: TinkerServer, transport: Transport) -> None:
    server.on("/x", Hang())
    errors: list[BaseException] = []

    def call() -> None:
        try:
            transport.request("POST", "/x", b"{}", timeout=60)
        except tinkex.TinkerError as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    server.requests.wait_for("/x")
    transport.close()
    thread.join(60)
    assert not thread.is_alive()
    assert isinstance(errors[0], tinkex.ClientClosedError)
    server.wait_for_connections(0)


def test_nobody_listening_is_known_within_a_second_and_named() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    transport = Transport(Config(base_url=f"http://127.0.0.1:{port}", api_key="tml-test"))
    pauses: list[metrics.RetryEvent] = []
    remove = metrics.on_retry(pauses.append)
    began = time.monotonic()
    try:
        with pytest.raises(tinkex.APIConnectionError, match=f"{port}.*refused") as caught:
            transport.request("GET", "/healthz")
    finally:
        remove()
    assert sum(pause.wait for pause in pauses) < 1.0
    assert time.monotonic() - began < 20  # as many tries as there are for other errors take a minute
    assert not caught.value.sent


def test_connections_are_kept_and_used_again(server: TinkerServer, transport: Transport) -> None:
    for _ in range(20):
        transport.request("GET", "/healthz")
    assert {request.connection for request in server.requests} == {1}


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="the system does not list open files")
def test_closing_frees_idle_sockets_without_a_garbage_collection(server: TinkerServer) -> None:
    gc.collect()
    gc.disable()
    try:
        before = len(os.listdir("/dev/fd"))
        made = [Transport(Config(base_url=server.url, api_key="tml-test")) for _ in range(5)]
        for transport in made:
            transport.request("GET", "/healthz")
        assert len(os.listdir("/dev/fd")) >= before + 10
        for transport in made:
            transport.close()
        server.wait_for_connections(0)
        assert len(os.listdir("/dev/fd")) <= before
    finally:
        gc.enable()


def test_a_proxy_is_used_for_the_server(server: TinkerServer) -> None:
    def answer(request: Request) -> Reply:
        return Reply(200, {"asked_for": request.path})

    server.on("*", answer)
    config = Config(base_url="http://far.test", api_key="tml-test", proxies={"http": server.url})
    assert Transport(config).request("GET", "/x").json() == {"asked_for": "http://far.test/api/v1/x"}


@pytest.mark.usefixtures("nothing_left")
def test_proxies_are_each_clients_own(server: TinkerServer) -> None:
    with TinkerServer() as proxy:
        proxied = Config(
            base_url="http://tinker.invalid", api_key="tml-test", proxies={"http": proxy.url}, max_tries=1
        )
        proxy.on("*/client/config", {})
        proxy.on("*/create_session", {"session_id": "behind-the-proxy"})
        proxy.on("*/sessions/*/finish", {})
        with ServiceClient(config=proxied, heartbeat_interval=5) as behind, client_of(server) as direct:
            assert behind.session_id == "behind-the-proxy"
            direct.get_server_capabilities()
        assert not any("invalid" in request.path for request in server.requests)
        assert all("tinker.invalid" in request.path for request in proxy.requests)


def _trickle(
    connection: socket.socket, stop: threading.Event, pieces: Iterator[bytes], pause: float = 0.02
) -> None:
    """Read a request, and then send a piece now and then until ``stop`` or until nobody listens any more."""
    with connection, contextlib.suppress(OSError):
        connection.recv(65536)
        for piece in pieces:
            connection.sendall(piece)
            if stop.wait(pause):
                return


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
        (b"HTTP/1.1 200 OK\r\nX-A: ", b"b"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
    ids=["headers", "one header", "100 Continue", "content", "chunks"],
)
def test_an_answer_that_goes_on_without_getting_anywhere_is_given_up(first: bytes, then: bytes) -> None:
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        settings = tinkex.Config(base_url=url, api_key="tml-test", read_timeout=0.3, max_tries=1)
        transport = Transport(settings)
        pieces = itertools.chain([first], itertools.repeat(then))
        server = threading.Thread(target=lambda: _trickle(listener.accept()[0], stop, pieces), daemon=True)
        server.start()
        try:
            with pytest.raises(tinkex.APIConnectionError):
                transport.request("GET", "/x")
        finally:
            stop.set()
            transport.close()
            server.join(60)


def test_a_large_answer_that_comes_steadily_is_read_whole() -> None:
    """It takes longer than the time-out of a read, but not at every read."""
    size, stop = 600_000, threading.Event()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size
    pieces = itertools.chain([head], (b"x" * 20_000 for _ in range(size // 20_000)))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        transport = Transport(tinkex.Config(base_url=url, api_key="tml-test", read_timeout=2.0, max_tries=1))
        server = threading.Thread(
            target=lambda: _trickle(listener.accept()[0], stop, pieces, 0.08), daemon=True
        )
        server.start()
        try:
            assert len(transport.request("GET", "/x").content) == size
        finally:
            stop.set()
            transport.close()
            server.join(60)


def test_an_answer_behind_a_provisional_one_is_not_taken_for_that_of_the_next_request() -> None:
    """``103 Early Hints`` comes before the answer, which is late here."""
    early = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    late = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate"
    own = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nown"

    def serve() -> None:
        first, _ = listener.accept()
        with first, contextlib.suppress(OSError):
            first.recv(65536)
            first.sendall(early)
            second, _ = listener.accept()
            with second:
                first.sendall(late)
                second.recv(65536)
                second.sendall(own)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        transport = Transport(
            tinkex.Config(base_url=url, api_key="tml-test", read_timeout=20, retry_delay=0.01)
        )
        server = threading.Thread(target=serve, daemon=True)
        server.start()
        try:
            assert transport.request("GET", "/x").content == b"own"
        finally:
            transport.close()
            server.join(60)
