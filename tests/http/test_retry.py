"""Retries: which answers get one, when, and under which key."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

import tinkex
from tinkex.http.retry import backoff, retry_after
from tinkex.http.transport import Transport
from tinkex.testing import Reply, Reset, TinkerServer


@pytest.mark.parametrize("trouble", [408, 409, 429, 500, 503, Reset(), Reset(before=True)])
def test_what_may_pass_is_tried_again_under_the_same_idempotency_key(
    server: TinkerServer, transport: Transport, trouble: object
) -> None:
    transport.request("GET", "/healthz")
    server.once("/optim_step", trouble, trouble, {"fine": True})  # type: ignore[arg-type]
    assert transport.request("POST", "/optim_step", b'{"a": 1}').json() == {"fine": True}
    tries = server.requests.to("/optim_step")
    assert len(tries) == 3
    assert len({request.headers["x-idempotency-key"] for request in tries}) == 1
    if trouble != Reset(before=True):
        assert {request.content for request in tries} == {b'{"a": 1}'}


def test_the_tries_are_bounded_and_the_last_answer_is_the_error(
    server: TinkerServer, transport: Transport
) -> None:
    server.on("/x", Reply(503, b"<html>down</html>"))
    with pytest.raises(tinkex.InternalServerError) as caught:
        transport.request("POST", "/x", b"{}")
    assert caught.value.body == "<html>down</html>"
    assert len(server.requests.to("/x")) == 4


def test_the_server_may_say_that_a_retry_is_useless(server: TinkerServer, transport: Transport) -> None:
    server.on("/x", Reply(409, {}, {"x-should-retry": "false"}))
    with pytest.raises(tinkex.ConflictError):
        transport.request("POST", "/x", b"{}")
    assert len(server.requests.to("/x")) == 1


def test_retry_after_is_waited_for(server: TinkerServer, transport: Transport) -> None:
    server.once("/x", Reply(429, {}, {"Retry-After": "0.3"}), Reply(429, {}, {"retry-after-ms": "200"}))
    server.on("/x", {})
    transport.request("POST", "/x", b"{}")
    first, second, third = server.requests.to("/x")
    assert second.time - first.time >= 0.3
    assert third.time - second.time >= 0.2


def test_retry_after_may_be_a_date() -> None:
    wait = retry_after({"Retry-After": formatdate(time.time() + 3000, usegmt=True)})
    assert wait is not None
    assert 2700 < wait <= 3000
    assert retry_after({"Retry-After": "soon"}) is None


def test_the_delay_doubles_up_to_its_bound_with_a_quarter_of_jitter() -> None:
    for attempt, middle in ((1, 0.5), (2, 1.0), (3, 2.0), (9, 10.0), (1000, 10.0)):
        delays = [backoff(attempt, 0.5, 10.0) for _ in range(200)]
        assert 0.75 * middle <= min(delays) <= max(delays) <= 1.25 * middle
        assert len(set(delays)) > 100
