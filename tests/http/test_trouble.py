"""A server that gives no good answer is named in the log, and in the error of whoever stops waiting."""

from __future__ import annotations

import concurrent.futures
import logging
import math
import time

import pytest
from clients import client_of, config, wait_until

import tinkex
from tinkex import types
from tinkex.http import trouble as module
from tinkex.http.trouble import Trouble, trouble_with
from tinkex.testing import Hang, TinkerServer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_one_warning_after_five_seconds_and_then_one_a_minute(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    trouble = Trouble("http://server")
    said: list[int] = []
    for second in range(140):
        clock[0] = 100.0 + second
        trouble.failed("connection refused", 300.0)
        if len(caplog.records) > len(said):
            said.append(second)
    assert said == [5, 65, 125]
    message = caplog.records[0].getMessage()
    assert "http://server" in message
    assert "connection refused" in message
    assert "300 s" in message
    assert {record.name for record in caplog.records} == {"tinkex"}
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_a_short_trouble_is_not_worth_a_warning(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    trouble = Trouble("http://server")
    for second in range(20):
        clock[0] = 100.0 + second
        trouble.failed("connection refused", 300.0)
        if second % 4 == 3:
            trouble.over()
            assert trouble.cause is None
            assert trouble.next_warning() == math.inf
    assert not caplog.records


def test_troubles_that_come_and_go_are_told_once_a_minute(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    trouble = Trouble("http://server")
    for second in range(59):
        clock[0] = 100.0 + second
        trouble.failed("connection refused", 300.0)
        if second % 10 == 9:
            trouble.over()
    assert len(caplog.records) == 1


def test_clients_of_one_server_share_their_trouble() -> None:
    mine = trouble_with("http://server")
    assert trouble_with("http://server") is mine
    assert trouble_with("http://other") is not mine


def test_waiting_for_the_next_try_does_not_delay_the_warning(
    server: TinkerServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_WARNING", 0.05)
    with tinkex.ServiceClient(config=config(server, retry_delay=30.0, retry_delay_max=30.0)) as service:
        sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
        server.on("/asample", 503)
        future = sampler.sample(types.ModelInput.from_ints([1]), 1, types.SamplingParams(max_tokens=1))
        server.requests.wait_for("/asample")
        with pytest.raises(concurrent.futures.TimeoutError) as caught:
            future.result(1.0)
        wait_until(lambda: any(server.url in record.getMessage() for record in caplog.records))
    assert "sample" in str(caught.value)
    assert "503" in str(caught.value)
    assert "1 s" in str(caught.value)
    [warning] = [record.getMessage() for record in caplog.records if server.url in record.getMessage()]
    assert "503" in warning


def test_a_timeout_without_trouble_says_what_was_waited_for(server: TinkerServer) -> None:
    with tinkex.ServiceClient(config=config(server)) as service:
        training = service.create_lora_training_client("tinkex/byte-lm")
        server.on("/retrieve_future", Hang())
        future = training.optim_step()
        with pytest.raises(
            concurrent.futures.TimeoutError, match=r"optim_step of model .* within 0\.2 s"
        ) as caught:
            future.result(0.2)
        assert "failed" not in str(caught.value)
        with pytest.raises(concurrent.futures.TimeoutError, match="optim_step"):
            future.exception(0.01)


def test_waiting_in_vain_for_a_client_names_the_last_cause(server: TinkerServer) -> None:
    with client_of(server) as service:
        server.on("/create_sampling_session", Hang())
        server.once("/create_sampling_session", 503)
        future = service.create_sampling_client_async(base_model="tinkex/byte-lm")
        server.requests.wait_for("/create_sampling_session", 2)
        with pytest.raises(concurrent.futures.TimeoutError, match=r"the client was not there .* failed: 503"):
            future.result(0.01)


def test_the_end_that_a_warning_foretells_counts_the_time_of_the_tries(
    server: TinkerServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "FIRST_WARNING", 0.0)
    server.on("/get_info", Hang())
    with tinkex.ServiceClient(config=config(server, read_timeout=0.5)) as service:
        training = service.create_lora_training_client("tinkex/byte-lm")
        with pytest.raises(tinkex.APITimeoutError):
            training.get_info()
    [warning] = [record for record in caplog.records if "no good answer" in record.message]
    assert isinstance(warning.args, tuple)
    left = warning.args[-1]
    assert isinstance(left, float)
    assert left >= 3 * 0.5  # the first of four tries has failed
