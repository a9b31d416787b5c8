"""Metrics, hooks, the log and trace context: what a program can see of its calls."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from clients import config
from servers import Hang, Reply, Reset, ScriptedServer

import tinkex
from tinkex import metrics, types
from tinkex.http.transport import Transport
from tinkex.http.watch import Call

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def from_zero() -> None:
    metrics.reset()


@pytest.fixture
def transport(server: ScriptedServer) -> Iterator[Transport]:
    made = Transport(config(server))
    made.request("GET", "/healthz")
    metrics.reset()
    yield made
    made.close()


def python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        cwd=ROOT, env={"PATH": os.environ["PATH"], "TINKER_TELEMETRY": "0", **environment},
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip


def test_calls_tries_failures_and_bytes_are_counted(server: ScriptedServer, transport: Transport) -> None:
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


def test_a_call_is_in_flight_until_it_is_over(server: ScriptedServer, transport: Transport) -> None:
    hang = Hang({})
    server.on("/x", hang)
    thread = threading.Thread(target=transport.request, args=("POST", "/x", b"{}"))
    thread.start()
    server.requests.wait_for("/x")
    seen = metrics.snapshot()
    assert (seen.requests, seen.in_flight, dict(seen.endpoints)) == (1, 1, {})
    hang.release()
    thread.join(5)
    assert metrics.snapshot().in_flight == 0


def test_a_call_that_the_client_gave_up_says_nothing_about_the_server(
    server: ScriptedServer, transport: Transport
) -> None:
    server.on("/x", Hang())

    def call() -> None:
        with pytest.raises(tinkex.ClientClosedError):
            transport.request("POST", "/x", b"{}")

    thread = threading.Thread(target=call)
    thread.start()
    server.requests.wait_for("/x")
    transport.close()
    thread.join(5)
    seen = metrics.snapshot()
    assert (seen.requests, seen.in_flight, seen.failed, dict(seen.endpoints)) == (1, 0, 0, {})


def test_no_call_of_many_threads_is_lost(server: ScriptedServer, transport: Transport) -> None:
    def calls() -> None:
        for _ in range(20):
            transport.request("GET", "/healthz")

    threads = [threading.Thread(target=calls) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    seen = metrics.snapshot()
    assert seen.requests == seen.endpoints["healthz"].calls == 160
    assert seen.in_flight == 0


def test_percentiles_are_good_to_five_percent() -> None:
    counters = metrics.Counters()
    for milliseconds in range(1, 1001):
        counters.end(None, "/x", milliseconds / 1000, False, 0, 0)
    seen = counters.read().endpoints["x"]
    assert seen.p50 == pytest.approx(0.5, rel=0.05)
    assert seen.p90 == pytest.approx(0.9, rel=0.05)
    assert seen.p99 == pytest.approx(0.99, rel=0.05)
    assert seen.longest == 1.0
    assert seen.mean == pytest.approx(0.5005)


def test_latency_is_that_of_the_call(server: ScriptedServer, transport: Transport) -> None:
    server.on("/x", Reply(delay=0.2))
    transport.request("POST", "/x", b"{}")
    seen = metrics.snapshot().endpoints["x"]
    assert 0.2 <= seen.mean == seen.longest < 2
    assert seen.p50 >= 0.19


def test_heartbeats_are_counted(server: ScriptedServer) -> None:
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
    done = python(
        """
        import os
        from tinkex import metrics
        metrics.counters.end(None, "/x", 1.0, False, 1, 1)
        metrics.counters.in_flight.add(1)
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


def test_hooks_are_told_until_they_are_removed(server: ScriptedServer, transport: Transport) -> None:
    told: list[object] = []
    removals = [hook(told.append) for hook in (metrics.on_request, metrics.on_retry, metrics.on_response)]
    try:
        server.once("/x", Reply(503), Reply(200, b"{}", {"X-Request-Id": "req-7"}))
        transport.request("POST", "/x", b"123")
    finally:
        for remove in removals:
            remove()
    transport.request("GET", "/healthz")
    request, retry, response = told
    assert request == metrics.RequestEvent("POST", "/x", 3)
    assert isinstance(retry, metrics.RetryEvent)
    assert (retry.tries, retry.status, retry.error) == (1, 503, None)
    assert isinstance(response, metrics.ResponseEvent)
    assert (response.status, response.tries, response.bytes_out, response.bytes_in) == (200, 2, 6, 4)
    assert (response.request_id, response.error) == ("req-7", None)
    assert response.seconds >= retry.wait


def test_hooks_are_told_of_calls_without_an_answer(server: ScriptedServer, transport: Transport) -> None:
    told: list[metrics.ResponseEvent] = []
    remove = metrics.on_response(told.append)
    try:
        server.on("/x", Reset())
        with pytest.raises(tinkex.APIConnectionError) as caught:
            transport.request("POST", "/x", b"123", tries=2)
    finally:
        remove()
    assert [(event.status, event.tries, event.error) for event in told] == [(None, 2, caught.value)]


def test_a_hook_may_fail_and_may_use_the_metrics(
    server: ScriptedServer, transport: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[int] = []

    def look(event: metrics.ResponseEvent) -> None:
        seen.append(metrics.snapshot().requests)
        metrics.on_response(look)()  # entered and removed at once

    def fail(event: object) -> None:
        raise RuntimeError("of the hook")

    removals = [metrics.on_response(fail), metrics.on_response(look), metrics.on_request(fail)]
    try:
        assert transport.request("GET", "/healthz").json() == {"status": "ok"}
    finally:
        for remove in removals:
            remove()
            remove()  # a second time is fine
    assert seen == [1]
    assert caplog.text.count("RuntimeError: of the hook") == 2


USE = """
import logging, sys
SETUP
import tinkex
from tinkex.http.transport import Transport
transport = Transport(tinkex.Config(base_url=sys.argv[1], api_key="tml-test-key", retry_delay=0.001))
transport.request("GET", "/healthz")
transport.request("POST", "/x", b"123")
logging.getLogger("tinkex").warning("beware")
"""


def test_the_logger_is_quiet_unless_asked(server: ScriptedServer) -> None:
    server.on("/x", {})
    done = python(USE.replace("SETUP", ""), server.url)
    assert (done.stdout, done.stderr) == ("", "")


def test_the_debug_log_shows_each_call_once(server: ScriptedServer) -> None:
    server.once("/x", 503, Reply(200, {}, {"X-Request-Id": "req-7"}))
    done = python(USE.replace("SETUP", ""), server.url, TINKER_LOG="debug")
    [first, retry, call, warning] = done.stderr.splitlines()
    assert "GET /healthz: 200 in " in first
    assert "POST /x: try 1: 503; again in 0.00 s" in retry
    assert "POST /x: 200 in " in call
    assert "ms, 2 tries, 6 bytes out," in call
    assert call.endswith("request id req-7")
    assert warning.endswith("WARNING tinkex beware")


def test_a_program_that_shows_logs_itself_sees_nothing_twice(server: ScriptedServer) -> None:
    server.on("/x", {})
    done = python(
        USE.replace("SETUP", "logging.basicConfig(format='MINE %(message)s')"), server.url, TINKER_LOG="INFO"
    )
    assert done.stderr == "MINE beware\n"


def test_a_level_that_does_not_exist_is_pointed_out(server: ScriptedServer) -> None:
    assert "TINKER_LOG must be one of debug, " in python("import tinkex", TINKER_LOG="loud").stderr


def test_nothing_is_written_where_nothing_is_shown(server: ScriptedServer, transport: Transport) -> None:
    assert not logging.getLogger("tinkex").isEnabledFor(logging.DEBUG)
    spent = []
    for _ in range(3):
        began = time.thread_time()
        for _ in range(1000):
            with Call("GET", "/x", 1):
                pass
        spent.append(time.thread_time() - began)
    assert min(spent) / 1000 < 50e-6  # a tenth of that on an idle machine


def test_requests_carry_the_active_span(server: ScriptedServer) -> None:
    trace = pytest.importorskip("opentelemetry.trace")
    context = trace.SpanContext(
        trace_id=0xABC, span_id=0xDEF, is_remote=False,
        trace_flags=trace.TraceFlags(1), trace_state=trace.TraceState([("vendor", "value")]),
    )  # fmt: skip
    parent = f"00-{0xABC:032x}-{0xDEF:016x}-01"
    prompt, params = types.ModelInput.from_ints([1, 2]), types.SamplingParams(max_tokens=1)
    with tinkex.ServiceClient(config=config(server)) as service:
        sampler = service.create_sampling_client(base_model="base")
        training = service.create_lora_training_client("base")
        sampler.sample(prompt, 1, params).result(10)
        assert not any("traceparent" in request.headers for request in server.requests)
        server.requests.clear()
        with trace.use_span(trace.NonRecordingSpan(context)):
            sampled = sampler.sample(prompt, 1, params)
            trained = training.optim_step()
        sampled.result(10)
        trained.result(10)
        training.optim_step().result(10)
    for path in ("/asample", "/optim_step", "/retrieve_future"):
        first = server.requests.to(path)[0]
        assert (first.headers["traceparent"], first.headers["tracestate"]) == (parent, "vendor=value")
    assert "traceparent" not in server.requests.to("/optim_step")[1].headers


def test_opentelemetry_is_never_imported_here(server: ScriptedServer) -> None:
    server.on("/x", {})
    python(USE.replace("SETUP", "") + "\nassert 'opentelemetry' not in sys.modules", server.url)
