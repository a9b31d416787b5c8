"""How long and how often results are asked for while a server fails."""

from __future__ import annotations

import concurrent.futures
import time
from typing import Any

import pytest
from clients import NOT_YET, PARAMS, PROMPT, TOKENS, config, sample

import tinkex
from tinkex.testing import Hang, Reply, Reset, TinkerServer


def test_an_odd_400_is_asked_again_three_times_only(
    server: TinkerServer, sampler: tinkex.SamplingClient
) -> None:
    server.on("/retrieve_future", Reply(400, b""))
    with pytest.raises(tinkex.BadRequestError):
        sample(sampler)
    assert len(server.requests.to("/retrieve_future")) == 4


def test_an_outage_that_lasts_is_an_error(server: TinkerServer) -> None:
    server.on("/retrieve_future", 502)
    with tinkex.ServiceClient(config=config(server, outage_timeout=0.5)) as service:
        sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
        began = time.monotonic()
        with pytest.raises(tinkex.InternalServerError):
            sample(sampler)
        assert 0.5 <= time.monotonic() - began < 20


def test_an_account_that_cannot_be_billed_for_long_is_an_error(server: TinkerServer) -> None:
    server.on("/client/config", {"billing_exception_max_pause_duration_sec": 0.1})
    server.on("/retrieve_future", 402)
    with tinkex.ServiceClient(config=config(server)) as service:
        sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
        with pytest.raises(tinkex.BillingError):
            sample(sampler)


def test_breaks_far_apart_are_not_one_long_outage(server: TinkerServer) -> None:
    """A poll that runs out was held by a server that is there."""
    server.once("/retrieve_future", Reset(), *[Hang() for _ in range(4)], Reset())
    settings = config(server, wire_format="json", outage_timeout=0.4, poll_timeout=0.2)
    with tinkex.ServiceClient(config=settings) as service:
        server.once("/retrieve_future", None)
        training = service.create_lora_training_client("tinkex/byte-lm")
        training.optim_step().result(60)


def test_odd_400s_far_apart_are_no_refusal(server: TinkerServer, sampler: tinkex.SamplingClient) -> None:
    answers: list[Any] = [Reply(400, b""), NOT_YET]
    server.once("/retrieve_future", *answers * 5)
    assert sample(sampler) == TOKENS


def test_a_poll_that_runs_out_with_408_ends_the_trouble(
    server: TinkerServer, sampler: tinkex.SamplingClient
) -> None:
    server.once("/retrieve_future", Reset())
    server.on("/retrieve_future", 408)
    future = sampler.sample(PROMPT, 1, PARAMS)
    server.requests.wait_for("/retrieve_future", 3)
    with pytest.raises(concurrent.futures.TimeoutError) as caught:
        future.result(0.01)
    assert "the last try failed" not in str(caught.value)
