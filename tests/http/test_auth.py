"""Credentials: a key, a command, and the exchange for a JWT."""

from __future__ import annotations

import base64
import itertools
import json
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tinkex import Config, ServiceClient
from tinkex.errors import AuthenticationError, ConfigError, TinkerError
from tinkex.http.auth import RenewedCredential
from tinkex.http.transport import Transport
from tinkex.testing import Reply, Request, TinkerServer

KEY = "tml-very-secret-key"


CAPABILITIES = "/get_server_capabilities"


def jwt(number: int, life: float = 3600.0, age: float = 0.0) -> str:
    now = time.time()
    claims = {"iat": now - age, "exp": now - age + life, "n": number}
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"eyJhbGciOiJub25lIn0.{payload}.c2lnbmF0dXJl"


class Exchange:
    """The ``/auth/token`` of a server: hands out numbered tokens and knows which it takes."""

    def __init__(self, server: TinkerServer) -> None:
        self.numbers = itertools.count(1)
        self.taken: set[str] = set()
        self.life = 3600.0
        self.age = 0.0
        self.delay = 0.0
        server.on("/client/config", {"pjwt_auth_enabled": True})
        server.on("/auth/token", self.give)
        server.on(CAPABILITIES, self.check)

    def give(self, request: Request) -> Reply:
        token = jwt(next(self.numbers), self.life, self.age)
        self.taken.add(token)
        return Reply(200, {"jwt": token}, delay=self.delay)

    def check(self, request: Request) -> Reply | None:
        if request.secrets["x-api-key"] in self.taken:
            return None
        return Reply(401, {"detail": "stale"}, {"WWW-Authenticate": 'Bearer error="invalid_token"'})


@pytest.fixture
def exchange(server: TinkerServer) -> Exchange:
    return Exchange(server)


@pytest.fixture
def transport(server: TinkerServer) -> Iterator[Transport]:
    transport = Transport(Config(base_url=server.url, api_key=KEY, retry_delay=0.01, max_tries=3))
    yield transport
    transport.close()


def ask(transport: Transport) -> None:
    transport.request("GET", CAPABILITIES)


def test_the_key_is_exchanged_where_the_server_wants_it(server: TinkerServer, exchange: Exchange) -> None:
    with ServiceClient(base_url=server.url, api_key=KEY, heartbeat_interval=0.05) as service:
        service.get_server_capabilities()
        server.requests.wait_for("/session_heartbeat", 2)
    [exchanged] = server.requests.to("/auth/token")
    assert exchanged.secrets["x-api-key"] == KEY
    assert exchanged.json() == {}
    for request in server.requests:
        if request.path.endswith(("/client/config", "/auth/token")):
            assert request.secrets["x-api-key"] == KEY
        else:
            assert request.secrets["x-api-key"] in exchange.taken


def test_one_exchange_for_32_threads(server: TinkerServer, exchange: Exchange, transport: Transport) -> None:
    exchange.delay = 0.1
    transport.use_jwt()
    gate = threading.Barrier(32)

    def first_use(_: int) -> None:
        gate.wait(60)
        ask(transport)

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(first_use, range(32)))
    assert len(server.requests.to("/auth/token")) == 1


def test_a_refused_token_is_exchanged_once_for_all_and_the_request_replayed(
    server: TinkerServer, exchange: Exchange, transport: Transport
) -> None:
    transport.use_jwt()
    ask(transport)
    exchange.taken.clear()  # the server forgets
    exchange.delay = 0.1
    with ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda _: ask(transport), range(32)))
    assert len(server.requests.to("/auth/token")) == 2


def test_a_token_that_is_refused_again_is_an_error(
    server: TinkerServer, exchange: Exchange, transport: Transport
) -> None:
    stale = Reply(401, {"detail": "no"}, {"WWW-Authenticate": 'Bearer error="invalid_token"'})
    server.on(CAPABILITIES, stale)
    transport.use_jwt()
    with pytest.raises(AuthenticationError):
        ask(transport)
    assert len(server.requests.to(CAPABILITIES)) == 2


def test_other_refusals_are_not_replayed(
    server: TinkerServer, exchange: Exchange, transport: Transport
) -> None:
    server.on(CAPABILITIES, 401)
    transport.use_jwt()
    with pytest.raises(AuthenticationError):
        ask(transport)
    assert len(server.requests.to(CAPABILITIES)) == 1
    assert len(server.requests.to("/auth/token")) == 1


class Clock:
    """Stands in for the ``time`` of credentials; runs ``ahead`` seconds ahead."""

    ahead = 0.0

    def time(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("tinkex.http.auth.time", clock)
    return clock


def test_a_token_is_renewed_after_half_its_life(
    server: TinkerServer, exchange: Exchange, transport: Transport, clock: Clock
) -> None:
    transport.use_jwt()
    for ahead, exchanges in ((0.0, 1), (0.4, 1), (0.56, 2)):
        clock.ahead = ahead * exchange.life
        exchange.age = -clock.ahead  # the server's clock and this one agree
        ask(transport)
        ask(transport)
        assert len(server.requests.to("/auth/token")) == exchanges


def test_while_a_token_holds_a_failed_renewal_stops_nobody(
    server: TinkerServer, exchange: Exchange, transport: Transport, clock: Clock
) -> None:
    transport.use_jwt()
    ask(transport)
    server.on("/auth/token", 403)
    clock.ahead = 0.6 * exchange.life
    for _ in range(5):
        ask(transport)
    # It is not asked for again with every request.
    assert len(server.requests.to("/auth/token")) == 2


@pytest.mark.parametrize("old_when_given", [True, False])
def test_a_token_about_to_end_is_not_used(
    server: TinkerServer, exchange: Exchange, transport: Transport, clock: Clock, old_when_given: bool
) -> None:
    if old_when_given:
        exchange.age = exchange.life - 30
    transport.use_jwt()
    ask(transport)
    server.on("/auth/token", 403)
    if not old_when_given:
        clock.ahead = exchange.life - 30
    with pytest.raises(TinkerError):
        ask(transport)


@pytest.fixture
def waiters(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Counts the threads that wait for an exchange which another one makes."""
    counted = threading.Semaphore(0)

    class Awaited(Future[bool]):
        def result(self, timeout: float | None = None) -> bool:
            counted.release()
            return super().result(timeout)

    monkeypatch.setattr("tinkex.http.auth.Future", Awaited)
    return counted


def test_a_failed_exchange_fails_all_who_wait_and_the_next_tries_again(
    waiters: threading.Semaphore,
) -> None:
    outcomes: list[Any] = [ConfigError("first"), "value"]

    def fetch() -> str:
        if len(outcomes) == 2:
            assert all(waiters.acquire(timeout=60) for _ in range(7))
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return str(outcome)

    credential = RenewedCredential(fetch)
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(credential.get) for _ in range(8)]
        assert all(isinstance(one.exception(60), ConfigError) for one in waiting)
    assert credential.get() == "value"


def test_an_interrupted_exchange_interrupts_nobody_else(waiters: threading.Semaphore) -> None:
    inside = threading.Event()
    fetched = itertools.count()

    def fetch() -> str:
        if next(fetched) == 0:
            inside.set()
            assert waiters.acquire(timeout=60)
            raise KeyboardInterrupt
        return "value"

    credential = RenewedCredential(fetch)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(credential.get)
        inside.wait(60)
        second = pool.submit(credential.get)
        assert isinstance(first.exception(60), KeyboardInterrupt)
        assert second.result(60) == "value"


def python(code: str) -> str:
    return f'"{sys.executable}" -c "{code}"'


def test_a_command_gives_the_credential(server: TinkerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKER_CREDENTIAL_CMD", python("print('tml-from-a-command')"))
    with ServiceClient(base_url=server.url, heartbeat_interval=5):
        pass
    assert {request.secrets["x-api-key"] for request in server.requests} == {"tml-from-a-command"}


def test_a_command_is_run_once_and_again_when_its_token_is_refused(
    server: TinkerServer, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    script = tmp_path / "script.py"
    script.write_text(
        f"p = open({str(runs)!r}, 'a+'); p.write('x'); p.seek(0); print('tml-%d' % len(p.read()))",
        encoding="utf-8",
    )
    config = Config(base_url=server.url, credential_cmd=f'"{sys.executable}" "{script}"')
    stale = Reply(401, {}, {"WWW-Authenticate": 'Bearer error="invalid_token"'})
    with ServiceClient(config=config, heartbeat_interval=5) as service:
        server.once(CAPABILITIES, stale)
        service.get_server_capabilities()
    keys = [request.secrets["x-api-key"] for request in server.requests.to(CAPABILITIES)]
    assert keys == ["tml-1", "tml-2"]
    assert runs.read_text(encoding="utf-8") == "xx"


@pytest.mark.parametrize("code", ["import sys; print('tml-leak'); sys.exit(3)", "print()"])
def test_a_command_that_fails_is_named_but_not_its_output(server: TinkerServer, code: str) -> None:
    config = Config(base_url=server.url, credential_cmd=python(code))
    with pytest.raises(ConfigError, match="credential command") as caught:
        ServiceClient(config=config)
    assert "tml-leak" not in "".join(traceback.format_exception(caught.value))
    assert len(server.requests) == 0
