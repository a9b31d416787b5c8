"""What all tests share: a clean environment, a server of their own, and clients of it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from clients import client_of, config, own_threads
from hypothesis import HealthCheck, settings

import tinkex
from tinkex import service_client
from tinkex.http.transport import Transport
from tinkex.testing import TinkerServer
from tinkex.training import wire_format

# How long an example takes says more about the machine than about the code.
settings.register_profile("tinkex", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tinkex")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No setting of whoever runs the tests, and no proxy between a test and its server."""
    for name in list(os.environ):
        if name.startswith(("TINKER_", "TINKEX_", "CLOUDFLARE_ACCESS_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TINKER_TELEMETRY", "0")
    for name in ("HOME", "USERPROFILE"):  # where a login may be stored
        monkeypatch.setenv(name, str(tmp_path_factory.getbasetemp()))


@pytest.fixture(autouse=True)
def nothing_known_of_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier test learned of a server does not hold for the next one, which may get its port."""
    monkeypatch.setattr(wire_format, "_found", {})


@pytest.fixture(autouse=True)
def time_to_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing may take a minute, so that what it sends arrives however busy the machine is."""
    monkeypatch.setattr(service_client, "CLOSE_SECONDS", 60.0)


@pytest.fixture
def server() -> Iterator[TinkerServer]:
    """A server that does as it should until told otherwise."""
    with TinkerServer() as running:
        yield running


@pytest.fixture
def service(server: TinkerServer) -> Iterator[tinkex.ServiceClient]:
    with tinkex.ServiceClient(config=config(server, wire_format="json")) as made:
        yield made


@pytest.fixture
def sampler(service: tinkex.ServiceClient) -> tinkex.SamplingClient:
    return service.create_sampling_client(base_model="tinkex/byte-lm")


@pytest.fixture
def training(service: tinkex.ServiceClient) -> tinkex.TrainingClient:
    return service.create_lora_training_client("tinkex/byte-lm")


@pytest.fixture
def saved(server: TinkerServer) -> str:
    """The path of a state that an earlier session has saved."""
    with client_of(server) as service:
        training = service.create_lora_training_client("tinkex/byte-lm", rank=8)
        path = training.save_state("step-1").result(60).path
    server.requests.clear()
    return path


@pytest.fixture
def client(server: TinkerServer) -> Iterator[tinkex.RestClient]:
    """A client for administration alone."""
    with tinkex.RestClient(config=config(server, project_id="home")) as made:
        yield made


@pytest.fixture
def manager() -> Iterator[tinkex.SessionManager]:
    """A registry of sessions whose heartbeats are frequent."""
    with tinkex.SessionManager(0.05, beat_timeout=60.0) as made:
        yield made


@pytest.fixture
def transport(server: TinkerServer) -> Iterator[Transport]:
    made = Transport(config(server))
    yield made
    made.close()


@pytest.fixture
def nothing_left(server: TinkerServer) -> Iterator[None]:
    """Whatever a test did with the server, once its clients are closed there is no thread and no connection."""
    before = own_threads()
    yield
    for thread in own_threads() - before:
        thread.join(60)
    assert not own_threads() - before
    server.wait_for_connections(0)
