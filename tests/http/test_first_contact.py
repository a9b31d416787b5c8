"""The first contact: a server that is only just starting is waited for as long as ``Config`` says."""

from __future__ import annotations

import logging
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from clients import config, wait_until

import tinkex
from tinkex import Config
from tinkex.http import trouble
from tinkex.http.transport import Transport
from tinkex.http.trouble import trouble_with
from tinkex.testing import Reply, TinkerServer


@pytest.fixture
def port() -> int:
    """A port at which nobody listens yet."""
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        found: int = reserved.getsockname()[1]
    return found


def patient(port: int, seconds: float) -> Config:
    return Config(
        base_url=f"http://127.0.0.1:{port}",
        api_key="tml-test",
        telemetry=False,
        retry_delay=0.01,
        retry_delay_max=0.02,
        first_contact_timeout=seconds,
    )


def test_a_server_that_starts_later_is_waited_for(
    port: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trouble, "FIRST_WARNING", 0.1)
    settings = patient(port, 60.0)
    known = trouble_with(settings.base_url)
    with ThreadPoolExecutor(1) as thread:
        making = thread.submit(tinkex.ServiceClient, config=settings)
        wait_until(lambda: bool(caplog.records) or making.done())
        with TinkerServer(port), making.result(60) as service:
            assert service.session_id
            assert known.cause is None
    assert re.search(r"trying for another [1-6]\d s", caplog.records[0].getMessage())


def test_by_default_two_tries_have_to_do(port: int) -> None:
    began = time.monotonic()
    with pytest.raises(tinkex.APIConnectionError):
        tinkex.ServiceClient(base_url=f"http://127.0.0.1:{port}", api_key="tml-test")
    assert time.monotonic() - began < 20


def test_patience_ends_and_says_so_in_time(
    port: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trouble, "FIRST_WARNING", 0.1)
    began = time.monotonic()
    with pytest.raises(tinkex.APIConnectionError):
        tinkex.ServiceClient(config=patient(port, 0.5))
    assert 0.5 <= time.monotonic() - began < 20
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "trying for another 0 s" in warnings[0].getMessage()
    assert "refused" in warnings[0].getMessage()


def test_a_server_that_has_answered_once_gets_the_usual_tries(port: int) -> None:
    transport = Transport(patient(port, 600.0))
    with TinkerServer(port):
        transport.request("GET", "/healthz")
    began = time.monotonic()
    with pytest.raises(tinkex.APIConnectionError):
        transport.request("GET", "/healthz")
    assert time.monotonic() - began < 60
    transport.close()


def test_a_refusal_and_a_lost_answer_are_no_reason_to_wait(server: TinkerServer) -> None:
    server.on("/client/config", Reply(403, {"detail": "not you"}))
    with pytest.raises(tinkex.PermissionDeniedError):
        tinkex.ServiceClient(config=config(server, first_contact_timeout=600.0))
    assert len(server.requests.to("/client/config")) == 1


def test_the_environment_may_say_how_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKEX_FIRST_CONTACT_TIMEOUT", "300")
    assert Config.from_env(api_key="tml-test").first_contact_timeout == 300.0
    assert Config.from_env(api_key="tml-test", first_contact_timeout=1.0).first_contact_timeout == 1.0
    monkeypatch.setenv("TINKEX_FIRST_CONTACT_TIMEOUT", "long")
    with pytest.raises(tinkex.ConfigError, match="TINKEX_FIRST_CONTACT_TIMEOUT must be a number of seconds"):
        Config.from_env(api_key="tml-test")
    with pytest.raises(tinkex.ConfigError, match="first_contact_timeout"):
        Config(api_key="tml-test", first_contact_timeout=-1.0)
