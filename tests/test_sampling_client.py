"""Sampling: many in flight, backpressure, and samplers that travel to other processes."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Iterator
from concurrent.futures import as_completed, wait

import pytest
from clients import config
from servers import Hang, Reply, Request, ScriptedServer

import tinkex
from tinkex import types

PROMPT = types.ModelInput.from_ints([1, 2])
PARAMS = types.SamplingParams(max_tokens=3)


@pytest.fixture
def service(server: ScriptedServer) -> Iterator[tinkex.ServiceClient]:
    with tinkex.ServiceClient(config=config(server)) as made:
        yield made


@pytest.fixture
def sampler(service: tinkex.ServiceClient) -> tinkex.SamplingClient:
    return service.create_sampling_client(base_model="base")


def test_every_argument_reaches_the_server(server: ScriptedServer, sampler: tinkex.SamplingClient) -> None:
    sampler.sample(
        PROMPT,
        2,
        types.SamplingParams(max_tokens=5, seed=7, stop=["a"], temperature=0.5, top_k=3, top_p=0.9),
        include_prompt_logprobs=True,
        topk_prompt_logprobs=4,
        topk_sample_logprobs=5,
        target_prompt_logprobs=types.TensorData([[1, 2]], "int64"),
        prompt_alt_tokens_k=6,
        prompt_logprobs_last_n=1,
    ).result(5)
    [request] = server.requests.to("/asample")
    assert request.headers["x-tinker-sampling-backpressure"] == "1"
    assert request.json() == {
        "type": "sample",
        "sampling_session_id": sampler.sampling_session_id,
        "seq_id": 0,
        "num_samples": 2,
        "prompt": {"chunks": [{"type": "encoded_text", "tokens": [1, 2]}]},
        "sampling_params": {
            "max_tokens": 5,
            "seed": 7,
            "stop": ["a"],
            "temperature": 0.5,
            "top_k": 3,
            "top_p": 0.9,
        },
        "prompt_logprobs": True,
        "topk_prompt_logprobs": 4,
        "topk_sample_logprobs": 5,
        "target_prompt_logprobs": {"data": [1, 2], "dtype": "int64", "shape": [1, 2]},
        "prompt_alt_tokens_k": 6,
        "prompt_logprobs_last_n": 1,
    }


def test_sequences_carry_the_ids_of_the_submission_or_ones_made_here(
    server: ScriptedServer, sampler: tinkex.SamplingClient
) -> None:
    made_here = sampler.sample(PROMPT, 3, PARAMS).result(5).sequences
    assert len({sequence.sequence_id for sequence in made_here}) == 3

    server.once("/asample", {"request_id": "named", "sample_sequence_ids": ["s-1", "s-2"]})
    sequence = {"tokens": [1], "stop_reason": "stop"}
    server.once("/retrieve_future", {"sequences": [sequence, sequence]})
    named = sampler.sample(PROMPT, 2, PARAMS).result(5).sequences
    assert [sequence.sequence_id for sequence in named] == ["s-1", "s-2"]


def test_numbers_do_not_repeat_over_threads(server: ScriptedServer, sampler: tinkex.SamplingClient) -> None:
    threads = [
        threading.Thread(target=lambda: wait(sampler.sample_many([PROMPT] * 25, 1, PARAMS))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    numbers = [request.json()["seq_id"] for request in server.requests.to("/asample")]
    assert sorted(numbers) == list(range(200))


def test_many_are_in_flight_at_once_from_one_thread(
    server: ScriptedServer, sampler: tinkex.SamplingClient
) -> None:
    hang = Hang()
    server.on("/retrieve_future", hang)
    futures = sampler.sample_many([PROMPT] * 200, 1, PARAMS)
    server.requests.wait_for("/retrieve_future", 200, timeout=20)
    server.on("/retrieve_future", None)
    hang.release()
    assert all(future.result(20).sequences for future in as_completed(futures, timeout=20))


def test_no_more_are_in_flight_than_the_retry_config_allows(
    server: ScriptedServer, service: tinkex.ServiceClient
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
        three_are_underway.wait(10)
        with lock:
            now -= 1

    three_are_underway = threading.Barrier(3)
    server.on("/asample", started)
    server.on("/retrieve_future", finished)
    limited = service.create_sampling_client(
        base_model="base", retry_config=types.RetryConfig(max_connections=3)
    )
    futures = limited.sample_many([PROMPT] * 39, 1, PARAMS)
    assert all(future.result(20).sequences for future in futures)
    assert most == 3


def test_a_429_pauses_every_sampler_of_that_server_and_key_and_loses_nothing(
    server: ScriptedServer, service: tinkex.ServiceClient
) -> None:
    one = service.create_sampling_client(base_model="base")
    with tinkex.ServiceClient(config=config(server)) as other_service:
        other = other_service.create_sampling_client(base_model="base")
        server.once("/asample", Reply(429, {}, {"Retry-After": "1.5"}))  # longer than it would be unasked
        first = one.sample(PROMPT, 1, PARAMS)
        [refused] = server.requests.wait_for("/asample")
        deadline = time.monotonic() + 5
        while not one._session.pause.is_shut and time.monotonic() < deadline:
            threading.Event().wait(0.001)
        second = other.sample(PROMPT, 1, PARAMS)
        assert first.result(5).sequences
        assert second.result(5).sequences
    later = [request for request in server.requests.to("/asample") if request is not refused]
    assert len(later) == 2
    assert all(request.time - refused.time >= 1.49 for request in later)
    again = [request for request in later if request.json() == refused.json()]
    assert len(again) == 1, "the same request is sent again"


def test_another_key_is_not_paused(server: ScriptedServer, sampler: tinkex.SamplingClient) -> None:
    server.once("/asample", Reply(429, {}, {"Retry-After": "30"}))
    paused = sampler.sample(PROMPT, 1, PARAMS)
    server.requests.wait_for("/asample")
    with tinkex.ServiceClient(config=config(server, api_key="tml-other")) as service:
        free = service.create_sampling_client(base_model="base")
        assert free.sample(PROMPT, 1, PARAMS).result(5).sequences
    assert not paused.done()


def test_logprobs_are_as_many_as_tokens(server: ScriptedServer, sampler: tinkex.SamplingClient) -> None:
    answer = {"sequences": [{"tokens": [1], "stop_reason": "length"}]}
    prompt = types.ModelInput.from_ints([4, 5, 6])
    server.once("/retrieve_future", {**answer, "prompt_logprobs": [None, -1.0, -2.0]})
    assert sampler.compute_logprobs(prompt).result(5) == [None, -1.0, -2.0]
    server.once("/retrieve_future", {**answer, "prompt_logprobs": [-1.0, -2.0]})
    assert sampler.compute_logprobs(prompt).result(5) == [None, -1.0, -2.0]
    asked = server.requests.to("/asample")[0].json()
    assert asked["sampling_params"]["max_tokens"] == 1
    assert asked["prompt_logprobs"] is True


def test_requests_that_never_finish_are_stuck(server: ScriptedServer) -> None:
    server.on("/retrieve_future", {"type": "try_again", "queue_state": "active"})
    with tinkex.ServiceClient(config=config(server)) as service:
        stuck = service.create_sampling_client(
            base_model="base", retry_config=types.RetryConfig(progress_timeout=0.3)
        )
        with pytest.raises(tinkex.APIConnectionError, match="stuck"):
            stuck.sample(PROMPT, 1, PARAMS).result(5)


def test_a_handle_works_in_another_client_and_holds_no_secret(
    server: ScriptedServer, sampler: tinkex.SamplingClient
) -> None:
    import base64

    sampler.sample(PROMPT, 1, PARAMS).result(5)
    handle = sampler.get_sampler_handle()
    assert b"tml-" not in base64.urlsafe_b64decode(handle)
    sessions = len(server.requests.to("/create_session"))
    clones = [tinkex.SamplingClient.from_sampler_handle(handle, api_key="tml-test") for _ in range(2)]
    for clone in clones:
        for _ in range(2):
            assert clone.sample(PROMPT, 1, PARAMS).result(5).sequences
    assert len(server.requests.to("/create_session")) == sessions
    numbers = [request.json()["seq_id"] for request in server.requests.to("/asample")]
    ranges = [number // 1_000_000_000 for number in numbers]
    assert ranges[0] == 0
    assert ranges[1] == ranges[2] != ranges[3] == ranges[4]
    assert len(set(numbers)) == 5


def test_a_server_that_counts_clients_numbers_the_clones(server: ScriptedServer) -> None:
    server.on("/client/config", {"sample_join_sampling_session": True})
    server.on("/join_sampling_session", {"client_counter": 3})
    with tinkex.ServiceClient(config=config(server)) as service:
        handle = service.create_sampling_client(base_model="base").get_sampler_handle()
        clone = tinkex.SamplingClient.from_sampler_handle(handle, api_key="tml-test")
        clone.sample(PROMPT, 1, PARAMS).result(5)
    assert server.requests.to("/asample")[-1].json()["seq_id"] == 3_000_000_000


def test_a_pickled_sampler_takes_its_key_from_the_environment(
    sampler: tinkex.SamplingClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINKER_API_KEY", "tml-test")
    pickled = pickle.dumps(sampler)
    assert b"tml-test" not in pickled
    assert pickle.loads(pickled).sample(PROMPT, 1, PARAMS).result(5).sequences


def test_stability_info_is_recorded_by_copies_too(
    server: ScriptedServer, service: tinkex.ServiceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINKER_API_KEY", "tml-test")
    recording = service.create_sampling_client(base_model="base", record_stability_info=True)
    handle = recording.get_sampler_handle()
    copies = [pickle.loads(pickle.dumps(recording)), tinkex.SamplingClient.from_sampler_handle(handle)]
    for sampler in [recording, *copies]:
        sampler.sample(PROMPT, 1, PARAMS).result(5)
    recording.compute_logprobs(PROMPT).result(5)
    bodies = [request.json() for request in server.requests.to("/asample")]
    assert [body["record_stability_info"] for body in bodies] == [True] * 4


def test_telemetry_is_that_of_the_session(server: ScriptedServer) -> None:
    with tinkex.ServiceClient(config=config(server, telemetry=True)) as service:
        sampler = service.create_sampling_client(base_model="base")
        training = service.create_lora_training_client("base")
        rest = service.create_rest_client()
        telemetry = service.get_telemetry()
        assert telemetry is not None
        for client in (sampler, training, rest):
            assert client.get_telemetry() is telemetry
        handle = sampler.get_sampler_handle()
        copy = tinkex.SamplingClient.from_sampler_handle(handle, api_key="tml-test")
        assert copy.get_telemetry() is None, "who made the session reports on it"
        with tinkex.RestClient(config=config(server)) as alone:
            assert alone.get_telemetry() is None


def test_the_base_model_is_known_without_an_endpoint_for_it(
    server: ScriptedServer, service: tinkex.ServiceClient
) -> None:
    server.on("/samplers/*", 404)
    assert service.create_sampling_client(base_model="base").get_base_model() == "base"
    saved = service.create_sampling_client(model_path="tinker://run/sampler_weights/a")
    assert saved.get_base_model() == "base"
    assert server.requests.to("/weights_info")[0].json() == {"tinker_path": "tinker://run/sampler_weights/a"}


def completions_of(server: ScriptedServer, withheld: Hang) -> None:
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


def test_the_server_is_told_of_a_sample_cancelled_while_it_was_submitted(
    server: ScriptedServer, sampler: tinkex.SamplingClient
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


def test_a_cancelled_future_is_done_for_those_who_wait(
    server: ScriptedServer, sampler: tinkex.SamplingClient
) -> None:
    server.on("/retrieve_future", Hang())
    future = sampler.sample(PROMPT, 1, PARAMS)
    server.requests.wait_for("/retrieve_future")
    assert future.cancel()
    assert future.cancel()  # and again, to no harm
    assert wait([future], 5).done == {future}
    assert list(as_completed([future], 5)) == [future]


def test_a_watch_ends_with_the_last_sample_and_paces_itself(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinkex.sampling.completions.CHECK_EVERY", 0.1)
    server.on("/client/config", {"sample_use_retrieve_futures": True})
    server.on("/retrieve_futures", {"completions": [], "cursor": 0})  # and does not hold the poll
    with tinkex.ServiceClient(config=config(server)) as service:
        impatient = types.RetryConfig(progress_timeout=0.5)
        sampler = service.create_sampling_client(base_model="base", retry_config=impatient)
        with pytest.raises(tinkex.APIConnectionError, match="stuck"):
            sampler.sample(PROMPT, 1, PARAMS).result(10)
        assert len(server.requests.to("/retrieve_futures")) < 20
        assert sampler._flights._watch is not None
        deadline = time.monotonic() + 5
        while sampler._flights._watch._polling:
            assert time.monotonic() < deadline
            threading.Event().wait(0.01)


def test_the_bytes_of_prompts_on_their_way_are_bounded(server: ScriptedServer) -> None:
    server.on("/client/config", {"sample_dispatch_bytes_semaphore_size": 3 * 4096})
    held = [Hang() for _ in range(8)]
    server.once("/asample", *held)
    with tinkex.ServiceClient(config=config(server)) as service:
        sampler = service.create_sampling_client(base_model="base")
        futures = sampler.sample_many([PROMPT] * len(held), 1, PARAMS)
        for answered, hang in enumerate(held):
            on_their_way = min(answered + 2, len(held))
            assert len(server.requests.wait_for("/asample", on_their_way)) == on_their_way
            hang.release()
        for future in futures:
            future.result(10)


def test_one_poll_waits_for_all_samples_where_the_server_offers_it(server: ScriptedServer) -> None:
    withheld = Hang()
    completions_of(server, withheld)
    with tinkex.ServiceClient(config=config(server)) as service:
        sampler = service.create_sampling_client(base_model="base")
        futures = sampler.sample_many([PROMPT] * 30, 1, PARAMS)
        server.requests.wait_for("/asample", 30)
        [poll] = server.requests.wait_for("/retrieve_futures")
        assert server.requests.to("/retrieve_future") == []
        withheld.release()
        assert all(future.result(10).sequences for future in futures)
        assert poll.json()["target"] == {
            "type": "sampling_session",
            "sampling_session_id": sampler.sampling_session_id,
            "cloned_sampler_id": 0,
        }
        assert len(server.requests.to("/retrieve_future")) == 30
        sampler.sample(PROMPT, 1, PARAMS).result(10)
    told = {
        name
        for request in server.requests.to("/retrieve_futures")
        for name in request.json()["retrieved_request_ids"]
    }
    assert {f"r-{number}" for number in range(30)} <= told


def test_where_that_poll_is_refused_each_sample_asks_for_itself(server: ScriptedServer) -> None:
    completions_of(server, Hang())
    server.on("/retrieve_futures", 404)
    with tinkex.ServiceClient(config=config(server)) as service:
        sampler = service.create_sampling_client(base_model="base")
        assert all(future.result(10) for future in sampler.sample_many([PROMPT] * 5, 1, PARAMS))
    assert len(server.requests.to("/retrieve_futures")) == 1


def test_closing_lets_go_of_samples_that_wait_for_that_poll(server: ScriptedServer) -> None:
    completions_of(server, Hang())
    service = tinkex.ServiceClient(config=config(server))
    future = service.create_sampling_client(base_model="base").sample(PROMPT, 1, PARAMS)
    server.requests.wait_for("/retrieve_futures")
    service.close()
    with pytest.raises(tinkex.ClientClosedError):
        future.result(1)
