"""Requests over HTTP: headers, errors, and what instruments and mocks of ``requests`` see."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import requests
import requests_mock
import responses
from clients import config

import tinkex
from tinkex import Config, ServiceClient
from tinkex.errors import (
    APIStatusError,
)
from tinkex.http.transport import Transport
from tinkex.testing import Hang, Reply, TinkerServer

KEY = "tml-secret-of-the-test"


@pytest.fixture
def transport(server: TinkerServer) -> Iterator[Transport]:
    made = Transport(config(server, api_key=KEY))
    yield made
    made.close()


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
    server: TinkerServer, transport: Transport, status: int, kind: type[tinkex.APIStatusError]
) -> None:
    server.on("/x", Reply(status, {"detail": "because"}, {"X-Request-Id": "req-7"}))
    with pytest.raises(kind, match="because") as caught:
        transport.request("POST", "/x", b"{}")
    error = caught.value
    assert (error.status_code, error.body, error.request_id) == (status, {"detail": "because"}, "req-7")
    assert "req-7" in str(error)
    assert len(server.requests.to("/x")) == 1


def test_no_answer_in_time_is_a_timeout(server: TinkerServer, transport: Transport) -> None:
    server.on("/x", Hang())
    with pytest.raises(tinkex.APITimeoutError) as caught:
        transport.request("POST", "/x", b"{}", timeout=0.1, tries=1)
    assert caught.value.sent


def test_the_key_travels_in_its_header_and_shows_nowhere_else(
    server: TinkerServer, transport: Transport
) -> None:
    server.on("/x", 403)
    with pytest.raises(tinkex.PermissionDeniedError) as caught:
        transport.request("POST", "/x", b"{}")
    [request] = server.requests.to("/x")
    assert request.secrets["x-api-key"] == KEY
    assert request.headers["user-agent"].startswith(f"tinkex/{tinkex.__version__}")
    for shown in (repr(transport), repr(transport.config), str(caught.value), repr(vars(caught.value))):
        assert KEY not in shown


def test_compressed_answers_are_read(server: TinkerServer, transport: Transport) -> None:
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
    server: TinkerServer, transport: Transport, monkeypatch: pytest.MonkeyPatch
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


@pytest.mark.usefixtures("nothing_left")
def test_retry_budgets_are_each_clients_own(server: TinkerServer) -> None:
    with (
        ServiceClient(
            config=Config(base_url=server.url, api_key="tml-a", max_tries=2, retry_delay=0.01),
            heartbeat_interval=5,
        ) as hasty,
        ServiceClient(
            config=Config(base_url=server.url, api_key="tml-b", max_tries=5, retry_delay=0.01),
            heartbeat_interval=5,
        ) as patient,
    ):
        server.on("/get_server_capabilities", 503)
        for client in (hasty, patient):
            with pytest.raises(APIStatusError):
                client.get_server_capabilities()
        keys = [request.secrets["x-api-key"] for request in server.requests.to("/get_server_capabilities")]
        assert keys == ["tml-a"] * 2 + ["tml-b"] * 5


@pytest.mark.usefixtures("nothing_left")
def test_the_version_of_the_client_is_in_its_agent(server: TinkerServer, service: ServiceClient) -> None:
    agents = {request.headers["user-agent"] for request in server.requests}
    assert len(agents) == 1
    assert agents.pop().startswith(f"tinkex/{tinkex.__version__}")
