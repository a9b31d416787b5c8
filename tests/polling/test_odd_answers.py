"""Answers to a poll that are no results: asked for again for ``Config.outage_timeout``, and never taken for one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from clients import TOKENS, config, datum, seq_ids

import tinkex
from tinkex import types
from tinkex.testing import Hang, Reply, Request, Reset, TinkerServer
from tinkex.wire import messages_pb2 as pb

PROTO = {"Content-Type": "application/x-protobuf"}
PROMPT = types.ModelInput.from_ints([1, 2])
PARAMS = types.SamplingParams(max_tokens=3, temperature=0.0)
DATUM = datum(1, 2, 3)
ODD = [
    Reply(200, b""),
    Reply(200, b"<html>a proxy's</html>", {"Content-Type": "text/html"}),
    Reply(200, b"{", {}),
    Reply(200, b"null"),
    Reply(200, b"7"),
    Reply(200, b"{}"),
    Reply(200, b"[]"),
    Reply(200, b"[" * 100_000),
    Reply(200, b"1" * 5_000),
    Reply(204, b""),
    Reply(302, b"", {"Location": "http://127.0.0.1:1/"}),
    Reply(403, b"<html>a proxy's</html>"),
    Reply(404, b""),
    Reply(200, b"\xff" * 40, PROTO),
    Reply(200, b"", PROTO),
]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinkex.polling.backoff.BACKOFF_FIRST", 0.01)
    monkeypatch.setattr("tinkex.polling.backoff.BACKOFF_LONGEST", 0.05)


@pytest.fixture
def service(server: TinkerServer) -> Iterator[tinkex.ServiceClient]:
    settings = config(server, wire_format="json", outage_timeout=20.0)
    with tinkex.ServiceClient(config=settings) as made:
        yield made


@pytest.mark.parametrize("odd", ODD, ids=lambda reply: f"{reply.status}-{str(reply.body)[:12]}")
def test_a_step_is_neither_lost_nor_sent_again(
    server: TinkerServer, service: tinkex.ServiceClient, odd: Reply
) -> None:
    training = service.create_lora_training_client("tinkex/byte-lm")
    server.once("/retrieve_future", odd, odd)
    training.forward_backward([DATUM], "cross_entropy").result(60)
    server.once("/retrieve_future", odd, odd)
    training.optim_step().result(60)
    assert seq_ids(server) == [1, 2]
    # One poll for the model, and three for each of the two calls.
    assert len(server.requests.to("/retrieve_future")) == 7


@pytest.mark.parametrize("odd", ODD, ids=lambda reply: f"{reply.status}-{str(reply.body)[:12]}")
def test_a_sample_survives_them(server: TinkerServer, service: tinkex.ServiceClient, odd: Reply) -> None:
    sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
    server.once("/retrieve_future", odd, odd)
    assert sampler.sample(PROMPT, 1, PARAMS).result(60).sequences[0].tokens == TOKENS
    assert len(server.requests.to("/asample")) == 1


def test_what_stays_unreadable_poisons_after_the_outage_timeout(server: TinkerServer) -> None:
    with tinkex.ServiceClient(config=config(server, outage_timeout=0.3)) as service:
        training = service.create_lora_training_client("tinkex/byte-lm")
        server.on("/retrieve_future", Reply(200, b"<html>a proxy's</html>"))
        with pytest.raises(tinkex.ClientPoisonedError, match="not JSON") as caught:
            training.optim_step().result(60)
        assert isinstance(caught.value.__cause__, tinkex.APIResponseValidationError)
        with pytest.raises(tinkex.ClientPoisonedError):
            training.optim_step()


@pytest.mark.parametrize(
    "result",
    [
        {"loss_fn_output_type": "x", "loss_fn_outputs": [{}], "metrics": {}},
        {"sequences": []},
        {"type": "save_weights", "path": "tinkex://a/weights/b", "metrics": {}},
        {"type": "forward_backward", "metrics": {}},
        {"metrics": 7},
        {"path": "tinker://a/weights/b"},
    ],
    ids=str,
)
def test_a_result_of_another_kind_is_never_taken(
    server: TinkerServer, service: tinkex.ServiceClient, result: dict[str, object]
) -> None:
    training = service.create_lora_training_client("tinkex/byte-lm")
    server.once("/retrieve_future", result)
    server.once("/retrieve_future", {"metrics": {"step:max": 4.0}})
    assert training.optim_step().result(60).metrics == {"step:max": 4.0}


def outputs(count: int, logprobs: int = 2) -> dict[str, object]:
    tensor = {"data": [-1.0] * logprobs, "dtype": "float32"}
    return {"loss_fn_output_type": "x", "loss_fn_outputs": [{"logprobs": tensor}] * count, "metrics": {}}


@pytest.mark.parametrize("short", [outputs(0), outputs(1), outputs(3), outputs(2, logprobs=1)], ids=str)
def test_a_pass_has_an_output_for_each_datum_and_a_logprob_for_each_target(
    server: TinkerServer, service: tinkex.ServiceClient, short: dict[str, object]
) -> None:
    training = service.create_lora_training_client("tinkex/byte-lm")
    server.once("/retrieve_future", short)
    output = training.forward_backward([DATUM, DATUM], "cross_entropy").result(60)
    assert [len(one["logprobs"].data) for one in output.loss_fn_outputs] == [2, 2]
    assert seq_ids(server) == [1]


def test_a_sample_has_as_many_sequences_as_were_asked_for(
    server: TinkerServer, service: tinkex.ServiceClient
) -> None:
    sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
    short = pb.SampleResponse()
    short.sequences.add(tokens=b"\x01\0\0\0")
    server.once("/retrieve_future", Reply(200, short.SerializeToString(), PROTO))
    assert len(sampler.sample(PROMPT, 2, PARAMS).result(60).sequences) == 2


@pytest.mark.parametrize("logprobs", [None, [], [None], [None, None], [None, None, None]], ids=str)
def test_prompt_logprobs_that_the_server_leaves_out_are_an_error(
    server: TinkerServer, service: tinkex.ServiceClient, logprobs: object
) -> None:
    sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
    prompt = types.ModelInput.from_ints([1, 2, 3])
    sequence = {"tokens": [1], "stop_reason": "length"}
    server.on("/retrieve_future", {"sequences": [sequence], "prompt_logprobs": logprobs})
    with pytest.raises(tinkex.APIResponseValidationError, match="logprobs"):
        sampler.compute_logprobs(prompt).result(60)
    with pytest.raises(tinkex.APIResponseValidationError, match="logprobs"):
        sampler.sample(prompt, 1, PARAMS, include_prompt_logprobs=True).result(60)


def test_a_server_that_leaves_the_first_token_out_is_understood(
    server: TinkerServer, service: tinkex.ServiceClient
) -> None:
    sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
    sequence = {"tokens": [1], "stop_reason": "length"}
    server.on("/retrieve_future", {"sequences": [sequence], "prompt_logprobs": [-1.0, -2.0]})
    assert sampler.compute_logprobs(types.ModelInput.from_ints([1, 2, 3])).result(60) == [None, -1.0, -2.0]


def test_an_outage_during_a_call_of_many_requests_is_one_outage(server: TinkerServer) -> None:
    server.on("/client/config", {"fwdbwd_max_chunk_len": 1})
    with tinkex.ServiceClient(config=config(server, wire_format="json", outage_timeout=1.0)) as service:
        training = service.create_lora_training_client("tinkex/byte-lm")
        server.on("/retrieve_future", Reset())
        began = time.monotonic()
        with pytest.raises(tinkex.ClientPoisonedError):
            training.forward_backward([DATUM] * 30, "cross_entropy").result(60)
        assert time.monotonic() - began < 15, "thirty outages would take 30 s"


def test_polls_that_are_never_answered_have_a_bound(server: TinkerServer) -> None:
    settings = config(server, poll_timeout=0.1, poll_outage_timeout=0.35)
    with tinkex.ServiceClient(config=settings) as service:
        sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
        server.on("/retrieve_future", Hang())
        with pytest.raises(tinkex.APITimeoutError):
            sampler.sample(PROMPT, 1, PARAMS).result(60)
        assert len(server.requests.to("/retrieve_future")) >= 2


@pytest.mark.parametrize("bound", [0, -1, float("nan"), float("inf"), "10"])
def test_the_bound_of_unanswered_polls_is_checked(bound: object) -> None:
    with pytest.raises(tinkex.ConfigError, match="poll_outage_timeout"):
        tinkex.Config(api_key="tml-a", poll_outage_timeout=bound)  # type: ignore[arg-type]
    assert tinkex.Config(api_key="tml-a", poll_outage_timeout=None).poll_outage_timeout is None


def test_steps_behind_a_poisoned_one_fail_with_its_cause(server: TinkerServer) -> None:
    """Their promises may be of a server that has lost the model, and would be polled for ever."""
    first = Hang(Reply(404, {"detail": "no such promise"}))
    with tinkex.ServiceClient(config=config(server, wire_format="json")) as service:
        training = service.create_lora_training_client("tinkex/byte-lm")
        before = training.save_state("before")
        before.result(60)

        def answer(request: Request) -> Hang:
            promised = polls.setdefault(request.json()["request_id"], len(polls))
            return first if promised == 0 else Hang()

        polls: dict[str, int] = {}
        server.on("/retrieve_future", answer)
        lost = training.forward_backward([DATUM], "cross_entropy")
        server.requests.wait_for("/forward_backward", 1)
        server.requests.wait_for("/retrieve_future", 3)
        behind: list[Future[Any]] = [training.optim_step(), training.forward([DATUM], "cross_entropy")]
        server.requests.wait_for("/retrieve_future", 5)
        first.release()
        for future in [lost, *behind]:
            with pytest.raises(tinkex.ClientPoisonedError, match="before") as caught:
                future.result(60)
            assert isinstance(caught.value.__cause__, tinkex.NotFoundError)


@pytest.mark.parametrize(
    "asked", ["86000", "1e300", "Fri, 31 Dec 2100 23:59:59 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"]
)
def test_no_server_makes_a_client_wait_for_long(server: TinkerServer, asked: str) -> None:
    headers = {"Retry-After": asked}
    with tinkex.ServiceClient(config=config(server, max_wait=0.05)) as service:
        training = service.create_lora_training_client("tinkex/byte-lm")
        sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
        server.once("/asample", Reply(429, {}, headers))
        server.once("/optim_step", Reply(503, {}, headers))
        server.once("/retrieve_future", Reply(429, {}, headers), Reply(503, {}, headers))
        sampler.sample(PROMPT, 1, PARAMS).result(60)
        training.optim_step().result(60)
