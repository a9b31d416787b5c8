"""Metrics: what a program can count of its calls."""

from __future__ import annotations

import os
import threading

import pytest
from clients import config
from programs import run_code

import tinkex
from tinkex import metrics
from tinkex.http.counters import Counters
from tinkex.http.transport import Transport
from tinkex.testing import Hang, Reply, Reset, TinkerServer


@pytest.fixture(autouse=True)
def from_zero() -> None:
    metrics.reset()


def test_calls_tries_failures_and_bytes_are_counted(server: TinkerServer, transport: Transport) -> None:
    server.once("/x", 503, Reset(), Reply(200, b"12345"))
    transport.request("POST", "/x", b"123")
    server.on("/y", Reply(404, b"no"))
    with pytest.raises(tinkex.NotFoundError):
        transport.request("POST", "/y/some-id", b"1")
    server.on("/y/*", Reply(200, b"yes"))
    transport.request("GET", "/y/other-id")
    seen = metrics.snapshot()
    assert (seen.requests, seen.retries, seen.failed, seen.in_flight) == (3, 2, 1, 0)
    assert seen.bytes_out == 3 * 3 + 1
    assert seen.bytes_in > len(b"12345" + b"no" + b"yes")  # and what the 503 said
    assert set(seen.endpoints) == {"x", "y"}
    assert (seen.endpoints["x"].calls, seen.endpoints["x"].failed) == (1, 0)
    assert (seen.endpoints["y"].calls, seen.endpoints["y"].failed) == (2, 1)


def test_a_call_is_in_flight_until_it_is_over(server: TinkerServer, transport: Transport) -> None:
    hang = Hang({})
    server.on("/x", hang)
    thread = threading.Thread(target=transport.request, args=("POST", "/x", b"{}"))
    thread.start()
    server.requests.wait_for("/x")
    seen = metrics.snapshot()
    assert (seen.requests, seen.in_flight, dict(seen.endpoints)) == (1, 1, {})
    hang.release()
    thread.join(60)
    assert metrics.snapshot().in_flight == 0


def test_a_call_that_the_client_gave_up_says_nothing_about_the_server(
    server: TinkerServer, transport: Transport
) -> None:
    server.on("/x", Hang())

    def call() -> None:
        with pytest.raises(tinkex.ClientClosedError):
            transport.request("POST", "/x", b"{}")

    thread = threading.Thread(target=call)
    thread.start()
    server.requests.wait_for("/x")
    transport.close()
    thread.join(60)
    seen = metrics.snapshot()
    assert (seen.requests, seen.in_flight, seen.failed, dict(seen.endpoints)) == (1, 0, 0, {})


def test_no_call_of_many_threads_is_lost(server: TinkerServer, transport: Transport) -> None:
    def calls() -> None:
        for _ in range(20):
            transport.request("GET", "/healthz")

    threads = [threading.Thread(target=calls) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    seen = metrics.snapshot()
    assert seen.requests == seen.endpoints["healthz"].calls == 160
    assert seen.in_flight == 0


def test_percentiles_are_good_to_five_percent() -> None:
    counters = Counters()
    for milliseconds in range(1, 1001):
        counters.end(None, "/x", milliseconds / 1000, failed=False, bytes_out=0, bytes_in=0)
    seen = counters.read().endpoints["x"]
    assert seen.p50 == pytest.approx(0.5, rel=0.05)
    assert seen.p90 == pytest.approx(0.9, rel=0.05)
    assert seen.p99 == pytest.approx(0.99, rel=0.05)
    assert seen.longest == 1.0
    assert seen.mean == pytest.approx(0.5005)


def test_latency_is_that_of_the_call(server: TinkerServer, transport: Transport) -> None:
    server.on("/x", Reply(delay=0.2))
    transport.request("POST", "/x", b"{}")
    seen = metrics.snapshot().endpoints["x"]
    assert 0.2 <= seen.mean == seen.longest < 20
    assert seen.p50 >= 0.19


def test_heartbeats_are_counted(server: TinkerServer) -> None:
    server.once("/session_heartbeat", 503)
    with tinkex.SessionManager(heartbeat_interval=0.02) as manager:
        session = manager.start_session(config(server))
        server.requests.wait_for("/session_heartbeat", 3)
        manager.stop_session(session)
    beats = len(server.requests.to("/session_heartbeat"))
    seen = metrics.snapshot()
    assert (seen.heartbeats_failed, seen.heartbeats_ok) == (1, beats - 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_counts_from_zero() -> None:
    done = run_code(
        """
        import os
        from tinkex import metrics
        from tinkex.http.counters import counters
        counters.end(None, "/x", 1.0, failed=False, bytes_out=1, bytes_in=1)
        counters.in_flight.add(1)
        child = os.fork()
        seen = metrics.snapshot()
        if child:
            assert os.waitpid(child, 0)[1] == 0
            assert (seen.requests, seen.in_flight) == (2, 1)
        else:
            os._exit(0 if (seen.requests, seen.in_flight, seen.bytes_out) == (0, 0, 0) else 1)
        """
    )
    assert done.stderr == ""
