"""vcrpy records what the client and the server say, and plays it back without the server."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import vcr
from clients import PARAMS, PROMPT, config

import tinkex
from tinkex.config import Config
from tinkex.http.transport import Transport
from tinkex.testing import Reply, TinkerServer


def use(settings: Config) -> list[int]:
    with tinkex.ServiceClient(config=settings, heartbeat_interval=60) as service:
        assert service.get_server_capabilities().supported_models[0].model_name == "tinkex/byte-lm"
        sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
        return sampler.sample(PROMPT, 1, PARAMS).result(60).sequences[0].tokens


def test_a_session_is_recorded_and_played_back_without_the_server(tmp_path: Path) -> None:
    cassette = tmp_path / "cassette.yaml"
    with TinkerServer() as server:
        settings = config(server)
        with vcr.use_cassette(str(cassette), record_mode="once", filter_headers=["X-API-Key"]) as recorded:
            tokens = use(settings)
        assert len(recorded) == len(server.requests) > 5
    assert str(settings.api_key) not in cassette.read_text(encoding="utf-8")
    with vcr.use_cassette(str(cassette), record_mode="none") as played:
        assert use(settings) == tokens
    assert played.play_count == len(recorded)
    with pytest.raises(tinkex.APIConnectionError):
        use(settings)


def test_a_client_made_before_goes_through_the_cassette_and_back(
    server: TinkerServer, transport: Transport, tmp_path: Path
) -> None:
    transport.request("GET", "/healthz")
    for plays in (0, 1):
        with vcr.use_cassette(str(tmp_path / "cassette.yaml"), record_mode="once") as cassette:
            assert transport.request("GET", "/healthz").json() == {"status": "ok"}
        assert (len(cassette), cassette.play_count) == (1, plays)
    assert len(server.requests) == 2
    transport.request("GET", "/healthz")
    assert len(server.requests) == 3
    transport.close()
    server.wait_for_connections(0)


def test_what_is_not_on_the_cassette_is_said_so(transport: Transport, tmp_path: Path) -> None:
    with (
        vcr.use_cassette(str(tmp_path / "cassette.yaml"), record_mode="none"),
        pytest.raises(vcr.errors.CannotOverwriteExistingCassetteException),
    ):
        transport.request("GET", "/healthz")


def test_compressed_answers_are_played_back(
    server: TinkerServer, transport: Transport, tmp_path: Path
) -> None:
    server.on("/x", Reply(200, gzip.compress(b'{"a": 1}'), {"Content-Encoding": "gzip"}))
    for _ in range(2):
        with vcr.use_cassette(str(tmp_path / "cassette.yaml"), record_mode="once"):
            assert transport.request("GET", "/x").json() == {"a": 1}
    assert len(server.requests) == 1


def test_a_recorded_answer_that_is_too_large_is_refused(server: TinkerServer, tmp_path: Path) -> None:
    transport = Transport(config(server, max_message_bytes=1000, max_tries=1))
    server.on("/x", Reply(200, b" " * 1001))
    for _ in range(2):
        with (
            vcr.use_cassette(str(tmp_path / "cassette.yaml"), record_mode="once"),
            pytest.raises(tinkex.APIResponseValidationError, match="max_message_bytes"),
        ):
            transport.request("GET", "/x")
    transport.close()
    assert len(server.requests) == 1
