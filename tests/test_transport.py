"""HTTP: retries, their pace and their identity, errors, and what instruments and mocks of requests see."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate

import pytest
import requests
import requests_mock
import responses
from servers import Hang, Reply, Request, Reset, ScriptedServer

import tinkex
from tinkex.config import Config
from tinkex.http.retry import backoff, retry_after
from tinkex.http.transport import Transport

KEY = "tml-secret-of-the-test"


@pytest.fixture
def transport(server: ScriptedServer) -> Iterator[Transport]:
    made = Transport(Config(base_url=server.url, api_key=KEY, retry_delay=0.001, max_tries=4))
    yield made
    made.close()


@pytest.mark.parametrize("trouble", [408, 409, 429, 500, 503, Reset(), Reset(before=True)])
def test_what_may_pass_is_tried_again_under_the_same_idempotency_key(
    server: ScriptedServer, transport: Transport, trouble: object
) -> None:
    transport.request("GET", "/healthz")
    server.once("/optim_step", trouble, trouble, {"fine": True})  # type: ignore[arg-type]
    assert transport.request("POST", "/optim_step", b'{"a": 1}').json() == {"fine": True}
    tries = server.requests.to("/optim_step")
    assert len(tries) == 3
    assert len({request.headers["x-idempotency-key"] for request in tries}) == 1
    if trouble != Reset(before=True):
        assert {request.body for request in tries} == {b'{"a": 1}'}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, tinkex.BadRequestError),
        (401, tinkex.AuthenticationError),
        (402, tinkex.BillingError),
        (403, tinkex.PermissionDeniedError),
        (404, tinkex.NotFoundError),
        (413, tinkex.APIStatusError),
        (422, tinkex.UnprocessableEntityError),
    ],
)
def test_a_refusal_is_final_and_keeps_the_servers_words(
    server: ScriptedServer, transport: Transport, status: int, kind: type[tinkex.APIStatusError]
) -> None:
    server.on("/x", Reply(status, {"detail": "because"}, {"X-Request-Id": "req-7"}))
    with pytest.raises(kind, match="because") as caught:
        transport.request("POST", "/x", b"{}")
    error = caught.value
    assert (error.status_code, error.body, error.request_id) == (status, {"detail": "because"}, "req-7")
    assert "req-7" in str(error)
    assert len(server.requests.to("/x")) == 1


def test_the_tries_are_bounded_and_the_last_answer_is_the_error(
    server: ScriptedServer, transport: Transport
) -> None:
    server.on("/x", Reply(503, b"<html>down</html>"))
    with pytest.raises(tinkex.InternalServerError) as caught:
        transport.request("POST", "/x", b"{}")
    assert caught.value.body == "<html>down</html>"
    assert len(server.requests.to("/x")) == 4


def test_the_server_may_say_that_a_retry_is_useless(server: ScriptedServer, transport: Transport) -> None:
    server.on("/x", Reply(409, {}, {"x-should-retry": "false"}))
    with pytest.raises(tinkex.ConflictError):
        transport.request("POST", "/x", b"{}")
    assert len(server.requests.to("/x")) == 1


def test_retry_after_is_waited_for(server: ScriptedServer, transport: Transport) -> None:
    server.once("/x", Reply(429, {}, {"Retry-After": "0.3"}), Reply(429, {}, {"retry-after-ms": "200"}))
    server.on("/x", {})
    transport.request("POST", "/x", b"{}")
    first, second, third = server.requests.to("/x")
    assert second.time - first.time >= 0.3
    assert third.time - second.time >= 0.2


def test_retry_after_may_be_a_date() -> None:
    wait = retry_after({"Retry-After": formatdate(time.time() + 30, usegmt=True)})
    assert wait is not None
    assert 27 < wait <= 30
    assert retry_after({"Retry-After": "soon"}) is None


def test_the_delay_doubles_up_to_its_bound_with_a_quarter_of_jitter() -> None:
    for attempt, middle in ((1, 0.5), (2, 1.0), (3, 2.0), (9, 10.0), (1000, 10.0)):
        delays = [backoff(attempt, 0.5, 10.0) for _ in range(200)]
        assert 0.75 * middle <= min(delays) <= max(delays) <= 1.25 * middle
        assert len(set(delays)) > 100


def test_no_answer_in_time_is_a_timeout(server: ScriptedServer, transport: Transport) -> None:
    server.on("/x", Hang())
    with pytest.raises(tinkex.APITimeoutError) as caught:
        transport.request("POST", "/x", b"{}", timeout=0.1, tries=1)
    assert caught.value.sent


def test_closing_ends_a_request_in_flight_at_once(server: ScriptedServer, transport: Transport) -> None:
    import threading

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
    thread.join(2)
    assert not thread.is_alive()
    assert isinstance(errors[0], tinkex.ClientClosedError)
    server.wait_for_connections(0)


def test_nobody_listening_is_known_within_a_second_and_named() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    transport = Transport(Config(base_url=f"http://127.0.0.1:{port}", api_key=KEY))
    began = time.monotonic()
    with pytest.raises(tinkex.APIConnectionError, match=f"{port}.*refused") as caught:
        transport.request("GET", "/healthz")
    assert time.monotonic() - began < 1.0
    assert not caught.value.sent


def test_the_key_travels_in_its_header_and_shows_nowhere_else(
    server: ScriptedServer, transport: Transport
) -> None:
    server.on("/x", 403)
    with pytest.raises(tinkex.PermissionDeniedError) as caught:
        transport.request("POST", "/x", b"{}")
    [request] = server.requests.to("/x")
    assert request.headers["x-api-key"] == KEY
    assert request.headers["user-agent"].startswith(f"tinkex/{tinkex.__version__}")
    for shown in (repr(transport), repr(transport.config), str(caught.value), repr(vars(caught.value))):
        assert KEY not in shown


def test_connections_are_kept_and_used_again(server: ScriptedServer, transport: Transport) -> None:
    for _ in range(20):
        transport.request("GET", "/healthz")
    assert {request.connection for request in server.requests} == {1}


def test_compressed_answers_are_read(server: ScriptedServer, transport: Transport) -> None:
    import gzip
    import json

    body = gzip.compress(json.dumps({"long": "x" * 5000}).encode())
    server.on("/x", Reply(200, body, {"Content-Encoding": "gzip"}))
    assert transport.request("GET", "/x").json() == {"long": "x" * 5000}


@responses.activate
def test_the_responses_package_can_stand_in_for_the_server() -> None:
    responses.post("http://mock.test/api/v1/x", json={"from": "responses"})
    transport = Transport(Config(base_url="http://mock.test", api_key=KEY))
    assert transport.request("POST", "/x", b"{}").json() == {"from": "responses"}


def test_the_requests_mock_package_can_stand_in_for_the_server() -> None:
    with requests_mock.Mocker() as mock:
        mock.post("http://mock.test/api/v1/x", json={"from": "requests-mock"})
        transport = Transport(Config(base_url="http://mock.test", api_key=KEY))
        assert transport.request("POST", "/x", b"{}").json() == {"from": "requests-mock"}


def test_a_wrapper_around_session_send_sees_every_call(
    server: ScriptedServer, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As OpenTelemetry's instrumentation of requests wraps it."""
    import functools

    seen: list[str] = []
    plain: Callable[..., requests.Response] = requests.Session.send

    @functools.wraps(plain)
    def traced(
        self: requests.Session, request: requests.PreparedRequest, **kwargs: object
    ) -> requests.Response:
        seen.append(f"{request.method} {request.path_url}")
        return plain(self, request, **kwargs)

    monkeypatch.setattr(requests.Session, "send", traced)
    assert transport.request("GET", "/healthz").json() == {"status": "ok"}
    assert seen == ["GET /api/v1/healthz"]


def test_a_proxy_is_used_for_the_server(server: ScriptedServer) -> None:
    def answer(request: Request) -> Reply:
        return Reply(200, {"asked_for": request.path})

    server.on("*", answer)
    config = Config(base_url="http://far.test", api_key=KEY, proxies={"http": server.url})
    assert Transport(config).request("GET", "/x").json() == {"asked_for": "http://far.test/api/v1/x"}
