"""Flags of a server: null means the default, and one that makes no sense is refused by its name."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from clients import PARAMS, PROMPT, client_of, config

import tinkex
from tinkex.api import service
from tinkex.http.transport import Transport
from tinkex.testing import Reply, TinkerServer
from tinkex.types.flags import DynamicFlags, ServerFlags

NO_SIZE: tuple[Any, ...] = (-1, 0, 1.5, "7", True, [], {}, 2**63, 10**400)
NO_TIME: tuple[Any, ...] = (-1, "7", True, [], math.nan, math.inf, 10**400, 1e300)
NO_SWITCH: tuple[Any, ...] = (0, 1, "true", [], {}, 1.5)
FLAGS = {
    **dict.fromkeys(
        (
            "sample_dispatch_bytes_semaphore_size", "inflight_response_bytes_semaphore_size", "fwdbwd_max_chunk_len",
            "fwdbwd_max_chunk_bytes_count", "sample_max_concurrent_requests",
        ),
        NO_SIZE,
    ),
    "billing_exception_max_pause_duration_sec": NO_TIME,
    **dict.fromkeys(("pjwt_auth_enabled", "parallel_fwdbwd_chunks", "sample_use_retrieve_futures"), NO_SWITCH),
}  # fmt: skip
DYNAMIC = {
    "refresh_interval_sec": NO_TIME,
    "sample_cancel_enabled": NO_SWITCH,
}


def given(answer: Any) -> Reply:
    return Reply(200, json.dumps(answer).encode())


@pytest.fixture
def transport(server: TinkerServer) -> Transport:
    return Transport(config(server, max_tries=1))


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, odd in FLAGS.items() for value in odd])
def test_a_flag_that_makes_no_sense_is_refused_by_name(
    server: TinkerServer, transport: Transport, name: str, value: object
) -> None:
    server.on("/client/config", given({name: value}))
    with pytest.raises(tinkex.APIResponseValidationError, match=name):
        service.client_config(transport)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, odd in DYNAMIC.items() for value in odd])
def test_a_dynamic_flag_that_makes_no_sense_is_refused_by_name(
    server: TinkerServer, transport: Transport, name: str, value: object
) -> None:
    server.on("/client/dynamic_config", given({name: value}))
    with pytest.raises(tinkex.APIResponseValidationError, match=name):
        service.dynamic_config(transport)


@pytest.mark.parametrize("answer", [None, {}, dict.fromkeys(FLAGS), {"unknown": "x"}])
def test_a_flag_that_is_null_or_absent_is_the_default(
    server: TinkerServer, transport: Transport, answer: object
) -> None:
    server.on("/client/*", given(answer))
    assert service.client_config(transport) == ServerFlags()
    assert service.dynamic_config(transport) == DynamicFlags()


@pytest.mark.parametrize("answer", [[], 5, "x", False, b"", b"nothing"])
def test_flags_are_an_object(server: TinkerServer, transport: Transport, answer: object) -> None:
    server.on("/client/*", Reply(200, answer))
    for ask in (service.client_config, service.dynamic_config):
        with pytest.raises(tinkex.APIResponseValidationError):
            ask(transport)


def test_a_whole_number_of_seconds_is_one(server: TinkerServer, transport: Transport) -> None:
    server.on("/client/config", {"billing_exception_max_pause_duration_sec": 5})
    assert service.client_config(transport).billing_exception_max_pause_duration_sec == 5


def test_a_client_goes_on_with_odd_dynamic_flags(server: TinkerServer) -> None:
    server.on("/client/dynamic_config", {"refresh_interval_sec": "soon"})
    with client_of(server) as client:
        assert (
            client.create_sampling_client(base_model="tinkex/byte-lm")
            .sample(PROMPT, 1, PARAMS)
            .result(60)
            .sequences
        )


def test_an_id_in_a_path_is_one_segment_of_it(server: TinkerServer, transport: Transport) -> None:
    service.finish_session(transport, "a/b?c#d é", "success", None, 5.0, 1)
    assert server.requests.to("/sessions/a%2Fb%3Fc%23d%20%C3%A9/finish")
    for odd in ("..", "", "\ud800"):
        with pytest.raises(tinkex.InputError):
            service.finish_session(transport, odd, "success", None, 5.0, 1)
