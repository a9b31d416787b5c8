"""Samples in flight: many at once, numbered, cancelled, stuck, and let go of."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError, as_completed, wait
from typing import Any

import pytest
from clients import PARAMS, PROMPT, TOKENS, client_of, config, sample

import tinkex
from tinkex import ServiceClient, types
from tinkex.errors import (
    ClientClosedError,
)
from tinkex.testing import Hang, Reply, Request, TinkerServer


def test_numbers_do_not_repeat_over_threads(server: TinkerServer, sampler: tinkex.SamplingClient) -> None:
    threads = [
        threading.Thread(target=lambda: wait(sampler.sample_many([PROMPT] * 25, 1, PARAMS))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    numbers = [request.json()["seq_id"] for request in server.requests.to("/asample")]
    assert sorted(numbers) == list(range(200))


def test_many_are_in_flight_at_once_from_one_thread(
    server: TinkerServer, sampler: tinkex.SamplingClient
) -> None:
    hang = Hang()
    server.on("/retrieve_future", hang)
    futures = sampler.sample_many([PROMPT] * 200, 1, PARAMS)
    server.requests.wait_for("/retrieve_future", 200)
    server.on("/retrieve_future", None)
    hang.release()
    assert all(future.result(60).sequences for future in as_completed(futures, timeout=60))


def test_no_more_are_in_flight_than_the_retry_config_allows(
    server: TinkerServer, service: tinkex.ServiceClient
) -> None:
    lock = threading.Lock()
    now, most = 0, 0

    def started(request: Request) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)

    def finished(request: Request) -> None:
        nonlocal now
        three_are_underway.wait(60)
        with lock:
            now -= 1

    three_are_underway = threading.Barrier(3)
    server.on("/asample", started)
    server.on("/retrieve_future", finished)
    limited = service.create_sampling_client(
        base_model="tinkex/byte-lm", retry_config=types.RetryConfig(max_connections=3)
    )
    futures = limited.sample_many([PROMPT] * 39, 1, PARAMS)
    assert all(future.result(60).sequences for future in futures)
    assert most == 3


def test_requests_that_never_finish_are_stuck(server: TinkerServer) -> None:
    server.on("/retrieve_future", {"type": "try_again", "queue_state": "active"})
    with tinkex.ServiceClient(config=config(server)) as service:
        stuck = service.create_sampling_client(
            base_model="tinkex/byte-lm", retry_config=types.RetryConfig(progress_timeout=0.3)
        )
        with pytest.raises(tinkex.APIConnectionError, match="stuck"):
            stuck.sample(PROMPT, 1, PARAMS).result(60)


def test_the_server_is_told_of_a_sample_cancelled_while_it_was_submitted(
    server: TinkerServer, sampler: tinkex.SamplingClient
) -> None:
    server.on("/client/dynamic_config", {"sample_cancel_enabled": True})
    submission = Hang()
    server.once("/asample", submission)
    future = sampler.sample(PROMPT, 1, PARAMS)
    server.requests.wait_for("/asample")
    assert future.cancel()
    submission.release()
    [told] = server.requests.wait_for("/cancel_future")
    assert told.json()["request_id"]
    assert not server.requests.to("/retrieve_future")


def test_a_forgotten_promise_is_submitted_anew_under_a_new_number(
    server: TinkerServer, sampler: tinkex.SamplingClient
) -> None:
    server.once("/retrieve_future", 410)
    assert sample(sampler) == TOKENS
    assert [request.json()["seq_id"] for request in server.requests.to("/asample")] == [0, 1]


def test_a_cancelled_sample_is_polled_no_more_and_the_server_is_told(
    server: TinkerServer, sampler: tinkex.SamplingClient
) -> None:
    server.on("/client/dynamic_config", {"sample_cancel_enabled": True})
    hang = Hang()
    server.on("/retrieve_future", hang)
    future = sampler.sample(PROMPT, 1, PARAMS)
    [poll] = server.requests.wait_for("/retrieve_future")
    assert future.cancel()
    [cancelled] = server.requests.wait_for("/cancel_future")
    assert cancelled.json() == {"request_id": poll.json()["request_id"]}
    with pytest.raises(CancelledError):
        future.result()


def test_nothing_is_cancelled_on_a_server_that_does_not_offer_it(
    server: TinkerServer, sampler: tinkex.SamplingClient
) -> None:
    server.on("/client/dynamic_config", {})
    server.on("/retrieve_future", Hang())
    future = sampler.sample(PROMPT, 1, PARAMS)
    server.requests.wait_for("/retrieve_future")
    assert future.cancel()
    server.requests.wait_for("/client/dynamic_config")
    server.on("/retrieve_future", None)
    assert sample(sampler) == TOKENS
    assert server.requests.to("/cancel_future") == []


@pytest.mark.usefixtures("nothing_left")
def test_closing_a_narrow_sampler_resolves_what_is_queued(
    server: TinkerServer, service: ServiceClient
) -> None:
    hang = Hang()
    server.on("/asample", hang)
    sampler = service.create_sampling_client(
        base_model="tinkex/byte-lm", retry_config=types.RetryConfig(max_connections=1)
    )
    futures = [sampler.sample(PROMPT, 1, PARAMS) for _ in range(3)]
    server.requests.wait_for("/asample")
    sampler.close()
    hang.release()
    for future in futures[1:]:
        with pytest.raises(ClientClosedError):
            future.result(60)
    futures[0].exception(60)


@pytest.mark.parametrize("named", [[], ["one"], ["one", "two", "three"], "two", [1, 2], None])
def test_no_sequence_is_lost_for_want_of_a_name(server: TinkerServer, named: Any) -> None:
    with client_of(server) as service:
        sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
        server.once("/asample", {"request_id": "r", "sample_sequence_ids": named})
        sequence = {"tokens": [1], "stop_reason": "length"}
        server.once("/retrieve_future", {"sequences": [sequence, sequence]})
        sequences = sampler.sample(PROMPT, 2, PARAMS).result(60).sequences
    assert len(sequences) == 2
    assert len({one.sequence_id for one in sequences} - {""}) == 2


def test_requests_that_are_put_off_for_ever_are_stuck(server: TinkerServer) -> None:
    server.on("/asample", Reply(429, {}, {"Retry-After": "0.05"}))
    with tinkex.ServiceClient(config=config(server)) as service:
        stuck = service.create_sampling_client(
            base_model="tinkex/byte-lm", retry_config=types.RetryConfig(progress_timeout=0.3)
        )
        with pytest.raises(tinkex.APIConnectionError, match="stuck"):
            stuck.sample(PROMPT, 1, PARAMS).result(60)
