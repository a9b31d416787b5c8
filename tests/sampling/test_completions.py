"""One poll for all the samples of a client, where the server offers that."""

from __future__ import annotations

import pytest
from clients import PARAMS, PROMPT, config, wait_until

import tinkex
from tinkex import types
from tinkex.testing import Hang, Reply, Request, TinkerServer


def completions_of(server: TinkerServer, withheld: Hang) -> None:
    """Script ``retrieve_futures``: whatever was submitted is done, once ``withheld`` is released."""
    submitted: list[str] = []

    def submit(request: Request) -> Reply:
        submitted.append(f"r-{request.json()['seq_id']}")
        return Reply(200, {"request_id": submitted[-1]})

    def completed(request: Request) -> object:
        if not withheld.released.is_set():
            return withheld
        cursor = request.json()["prev_cursor"]
        new = submitted[cursor:]
        if not new:
            return Reply(200, {"completions": [], "cursor": cursor}, delay=0.02)
        done = [{"state": "finished", "request_id": request_id} for request_id in new]
        return Reply(200, {"completions": done, "cursor": cursor + len(new)})

    withheld.then = completed
    server.on("/client/config", {"sample_use_retrieve_futures": True})
    server.on("/asample", submit)
    server.on("/retrieve_futures", completed)
    server.on("/retrieve_future", {"sequences": [{"tokens": [1], "stop_reason": "stop"}]})


def test_a_watch_ends_with_the_last_sample_and_paces_itself(
    server: TinkerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinkex.sampling.completions.CHECK_EVERY", 0.1)
    server.on("/client/config", {"sample_use_retrieve_futures": True})
    server.on("/retrieve_futures", {"completions": [], "cursor": 0})  # and does not hold the poll
    with tinkex.ServiceClient(config=config(server)) as service:
        impatient = types.RetryConfig(progress_timeout=0.5)
        sampler = service.create_sampling_client(base_model="tinkex/byte-lm", retry_config=impatient)
        with pytest.raises(tinkex.APIConnectionError, match="stuck"):
            sampler.sample(PROMPT, 1, PARAMS).result(60)
        polls = server.requests.to("/retrieve_futures")
        assert polls[-1].time - polls[0].time > 0.05 * (len(polls) - 1)
        assert sampler._in_flight._watch is not None
        watch = sampler._in_flight._watch
        wait_until(lambda: not watch._polling)


def test_one_poll_waits_for_all_samples_where_the_server_offers_it(server: TinkerServer) -> None:
    withheld = Hang()
    completions_of(server, withheld)
    with tinkex.ServiceClient(config=config(server)) as service:
        sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
        futures = sampler.sample_many([PROMPT] * 30, 1, PARAMS)
        server.requests.wait_for("/asample", 30)
        [poll] = server.requests.wait_for("/retrieve_futures")
        assert server.requests.to("/retrieve_future") == []
        withheld.release()
        assert all(future.result(60).sequences for future in futures)
        assert poll.json()["target"] == {
            "type": "sampling_session",
            "sampling_session_id": sampler.sampling_session_id,
            "cloned_sampler_id": 0,
        }
        assert len(server.requests.to("/retrieve_future")) == 30
        sampler.sample(PROMPT, 1, PARAMS).result(60)
    told = {
        name
        for request in server.requests.to("/retrieve_futures")
        for name in request.json()["retrieved_request_ids"]
    }
    assert {f"r-{number}" for number in range(30)} <= told


def test_where_that_poll_is_refused_each_sample_asks_for_itself(server: TinkerServer) -> None:
    completions_of(server, Hang())
    server.on("/retrieve_futures", 404)
    with tinkex.ServiceClient(config=config(server)) as service:
        sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
        assert all(future.result(60) for future in sampler.sample_many([PROMPT] * 5, 1, PARAMS))
    assert len(server.requests.to("/retrieve_futures")) == 1


def test_closing_lets_go_of_samples_that_wait_for_that_poll(server: TinkerServer) -> None:
    completions_of(server, Hang())
    service = tinkex.ServiceClient(config=config(server))
    future = service.create_sampling_client(base_model="tinkex/byte-lm").sample(PROMPT, 1, PARAMS)
    server.requests.wait_for("/retrieve_futures")
    service.close()
    with pytest.raises(tinkex.ClientClosedError):
        future.result(60)


def test_a_server_that_names_the_same_samples_each_time_is_not_asked_without_pause(
    server: TinkerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinkex.sampling.completions.CHECK_EVERY", 0.1)
    server.on("/client/config", {"sample_use_retrieve_futures": True})
    server.on("/retrieve_futures", {"completions": [{"request_id": "old"}], "cursor": 1})
    with tinkex.ServiceClient(config=config(server)) as service:
        impatient = types.RetryConfig(progress_timeout=0.5)
        sampler = service.create_sampling_client(base_model="tinkex/byte-lm", retry_config=impatient)
        with pytest.raises(tinkex.APIConnectionError, match="stuck"):
            sampler.sample(PROMPT, 1, PARAMS).result(60)
        _, second, *_, last = polls = server.requests.to("/retrieve_futures")
        assert last.time - second.time > 0.05 * (len(polls) - 2)
