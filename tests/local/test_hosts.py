"""Requests for a foreign host, or from a web page of one, are refused."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator

import pytest

from tinkex.local import LocalServer


@pytest.fixture(scope="module")
def everywhere() -> Iterator[LocalServer]:
    """A server that listens on all interfaces and goes by one more name."""
    with LocalServer(host="0.0.0.0", allowed_hosts=["Trainer.example"]) as running:
        yield running


def status(server: LocalServer, host: str | None, origin: str | None = None) -> int:
    """How a request with these headers is answered; a refusal says why."""
    port = int(server.base_url.rpartition(":")[2])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=9)
    connection.putrequest("POST", "/api/v1/client/config", skip_host=True)
    for name, value in (("Host", host), ("Origin", origin)):
        if value is not None:
            connection.putheader(name, value)
    connection.putheader("Content-Length", "0")
    connection.endheaders()
    answer = connection.getresponse()
    body = json.loads(answer.read())
    connection.close()
    assert answer.status == 200 or body["detail"]
    return answer.status


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:1234", "localhost:80", "LOCALHOST.", "[::1]", "[::1]:8000", None],
)
def test_the_machines_own_names_are_answered(server: LocalServer, host: str | None) -> None:
    assert status(server, host) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "127.0.0.1@evil.example",
        "evil.example, 127.0.0.1",
        "192.168.1.5",
        "0.0.0.0",
        "[::2]",
        "",
        "127.0.0.1:x",
    ],
)
def test_foreign_hosts_are_refused(server: LocalServer, host: str) -> None:
    assert status(server, host) == 403


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("http://127.0.0.1:3000", 200),
        ("http://localhost", 200),
        ("https://[::1]:8443", 200),
        ("https://evil.example", 403),
        ("http://127.0.0.1.evil.example", 403),
        ("http://192.168.1.5", 403),
        ("null", 403),
        ("", 403),
        ("file://", 403),
    ],
)
def test_pages_of_foreign_hosts_are_refused(server: LocalServer, origin: str, expected: int) -> None:
    assert status(server, "127.0.0.1", origin) == expected


def test_a_server_goes_by_the_names_it_is_told(everywhere: LocalServer) -> None:
    assert status(everywhere, "trainer.example:8000") == 200
    assert status(everywhere, "trainer.example", "http://trainer.example:3000") == 200
    assert status(everywhere, "other.example") == 403


def test_a_server_on_all_interfaces_is_reached_by_any_address(everywhere: LocalServer) -> None:
    for host in ("192.168.1.5:8000", "[fd00::7]:8000", "0.0.0.0:8000", "localhost"):
        assert status(everywhere, host) == 200
    # A page of the very address is the server's own; one of another address is not.
    assert status(everywhere, "192.168.1.5", "http://192.168.1.5:3000") == 200
    assert status(everywhere, "192.168.1.5", "http://192.168.1.6") == 403
    assert status(everywhere, "192.168.1.5", "http://evil.example") == 403


def test_a_foreign_host_learns_nothing_of_the_key() -> None:
    with LocalServer(api_key="tml-right") as running:
        assert status(running, "127.0.0.1") == 401
        assert status(running, "evil.example") == 403
