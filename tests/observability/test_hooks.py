"""Hooks on requests, retries and responses."""

from __future__ import annotations

import pytest

import tinkex
from tinkex import metrics
from tinkex.http.transport import Transport
from tinkex.testing import Reply, Reset, TinkerServer


@pytest.fixture(autouse=True)
def from_zero() -> None:
    metrics.reset()


def test_hooks_are_told_until_they_are_removed(server: TinkerServer, transport: Transport) -> None:
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


def test_hooks_are_told_of_calls_without_an_answer(server: TinkerServer, transport: Transport) -> None:
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
    server: TinkerServer, transport: Transport, caplog: pytest.LogCaptureFixture
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
