"""``SamplingClient``: its requests, its answers, and samplers that travel to other processes."""

from __future__ import annotations

import pickle

import pytest
from clients import PARAMS, PROMPT, config

import tinkex
from tinkex import types
from tinkex.testing import Hang, TinkerServer


def test_every_argument_reaches_the_server(server: TinkerServer, sampler: tinkex.SamplingClient) -> None:
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
    ).result(60)
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
    server: TinkerServer, sampler: tinkex.SamplingClient
) -> None:
    made_here = sampler.sample(PROMPT, 3, PARAMS).result(60).sequences
    assert len({sequence.sequence_id for sequence in made_here}) == 3

    server.once("/asample", {"request_id": "named", "sample_sequence_ids": ["s-1", "s-2"]})
    sequence = {"tokens": [1], "stop_reason": "stop"}
    server.once("/retrieve_future", {"sequences": [sequence, sequence]})
    named = sampler.sample(PROMPT, 2, PARAMS).result(60).sequences
    assert [sequence.sequence_id for sequence in named] == ["s-1", "s-2"]


def test_logprobs_are_as_many_as_tokens(server: TinkerServer, sampler: tinkex.SamplingClient) -> None:
    answer = {"sequences": [{"tokens": [1], "stop_reason": "length"}]}
    prompt = types.ModelInput.from_ints([4, 5, 6])
    server.once("/retrieve_future", {**answer, "prompt_logprobs": [None, -1.0, -2.0]})
    assert sampler.compute_logprobs(prompt).result(60) == [None, -1.0, -2.0]
    server.once("/retrieve_future", {**answer, "prompt_logprobs": [-1.0, -2.0]})
    assert sampler.compute_logprobs(prompt).result(60) == [None, -1.0, -2.0]
    asked = server.requests.to("/asample")[0].json()
    assert asked["sampling_params"]["max_tokens"] == 1
    assert asked["prompt_logprobs"] is True


def test_a_handle_works_in_another_client_and_holds_no_secret(
    server: TinkerServer, sampler: tinkex.SamplingClient
) -> None:
    import base64

    sampler.sample(PROMPT, 1, PARAMS).result(60)
    handle = sampler.get_sampler_handle()
    assert b"tml-" not in base64.urlsafe_b64decode(handle)
    sessions = len(server.requests.to("/create_session"))
    clones = [tinkex.SamplingClient.from_sampler_handle(handle, api_key="tml-test") for _ in range(2)]
    for clone in clones:
        for _ in range(2):
            assert clone.sample(PROMPT, 1, PARAMS).result(60).sequences
    assert len(server.requests.to("/create_session")) == sessions
    numbers = [request.json()["seq_id"] for request in server.requests.to("/asample")]
    ranges = [number // 1_000_000_000 for number in numbers]
    assert ranges[0] == 0
    assert ranges[1] == ranges[2] != ranges[3] == ranges[4]
    assert len(set(numbers)) == 5


def test_a_server_that_counts_clients_numbers_the_clones(server: TinkerServer) -> None:
    server.on("/client/config", {"sample_join_sampling_session": True})
    server.on("/join_sampling_session", {"client_counter": 3})
    with tinkex.ServiceClient(config=config(server)) as service:
        handle = service.create_sampling_client(base_model="tinkex/byte-lm").get_sampler_handle()
        clone = tinkex.SamplingClient.from_sampler_handle(handle, api_key="tml-test")
        clone.sample(PROMPT, 1, PARAMS).result(60)
    assert server.requests.to("/asample")[-1].json()["seq_id"] == 3_000_000_000


def test_a_pickled_sampler_takes_its_key_from_the_environment(
    sampler: tinkex.SamplingClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINKER_API_KEY", "tml-test")
    pickled = pickle.dumps(sampler)
    assert b"tml-test" not in pickled
    assert pickle.loads(pickled).sample(PROMPT, 1, PARAMS).result(60).sequences


def test_stability_info_is_recorded_by_copies_too(
    server: TinkerServer, service: tinkex.ServiceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINKER_API_KEY", "tml-test")
    recording = service.create_sampling_client(base_model="tinkex/byte-lm", record_stability_info=True)
    handle = recording.get_sampler_handle()
    copies = [pickle.loads(pickle.dumps(recording)), tinkex.SamplingClient.from_sampler_handle(handle)]
    for sampler in [recording, *copies]:
        sampler.sample(PROMPT, 1, PARAMS).result(60)
    recording.compute_logprobs(PROMPT).result(60)
    bodies = [request.json() for request in server.requests.to("/asample")]
    assert [body["record_stability_info"] for body in bodies] == [True] * 4


def test_telemetry_is_that_of_the_session(server: TinkerServer) -> None:
    with tinkex.ServiceClient(config=config(server, telemetry=True)) as service:
        sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
        training = service.create_lora_training_client("tinkex/byte-lm")
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
    server: TinkerServer, service: tinkex.ServiceClient
) -> None:
    server.on("/samplers/*", 404)
    assert service.create_sampling_client(base_model="tinkex/byte-lm").get_base_model() == "tinkex/byte-lm"
    training = service.create_lora_training_client("tinkex/byte-lm")
    path = training.save_weights_for_sampler("a").result(60).path
    saved = service.create_sampling_client(model_path=path)
    assert saved.get_base_model() == "tinkex/byte-lm"
    assert server.requests.to("/weights_info")[0].json() == {"tinker_path": path}


def test_close_fails_the_samples_in_flight_at_once(server: TinkerServer) -> None:
    with tinkex.ServiceClient(config=config(server)) as service:
        sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
        other = service.create_sampling_client(base_model="tinkex/byte-lm")
        server.on("/retrieve_future", Hang())
        futures = [sampler.sample(PROMPT, 1, PARAMS) for _ in range(3)]
        others = other.sample(PROMPT, 1, PARAMS)
        server.requests.wait_for("/retrieve_future", 4)
        sampler.close()
        for future in futures:
            with pytest.raises(tinkex.ClientClosedError, match="sampling client"):
                future.result(0)
        assert not others.done()
        with pytest.raises(tinkex.ClientClosedError):
            sampler.sample(PROMPT, 1, PARAMS)


def test_create_opens_a_sampler_in_the_session_of_a_holder(
    server: TinkerServer, service: tinkex.ServiceClient
) -> None:
    assert service.holder.get_session_id() == service.session_id
    made = tinkex.SamplingClient.create(service.holder, base_model="tinkex/byte-lm").result(60)
    again = tinkex.SamplingClient.create(service.holder, sampling_session_id=made.sampling_session_id)
    for sampler in (made, again.result(60)):
        sampler.sample(PROMPT, 1, PARAMS).result(60)
    numbers = [request.json()["seq_id"] for request in server.requests.to("/asample")]
    assert len(set(numbers)) == 2
    assert len(server.requests.to("/create_sampling_session")) == 1
    with pytest.raises(tinkex.InputError):
        tinkex.SamplingClient.create(service.holder)
    with pytest.raises(tinkex.InputError):
        tinkex.SamplingClient.create(service.holder, model_path="weights")
