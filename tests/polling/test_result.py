"""Every answer a server may give to the question what became of a request."""

from __future__ import annotations

import pytest
from clients import NOT_YET, PARAMS, PROMPT, TOKENS, config, sample, when

import tinkex
from tinkex import types
from tinkex.testing import Hang, Reply, Reset, TinkerServer
from tinkex.wire import messages_pb2 as pb


@pytest.mark.parametrize(
    "meanwhile",
    [
        NOT_YET,
        {**NOT_YET, "queue_state": "paused_capacity"},
        408,
        Reply(408, {"queue_state": "paused_rate_limit"}),
        429,
        Reply(429, {}, {"Retry-After": "0.05"}),
        500,
        503,
        Reply(400, b""),
        Reply(400, b"<html>proxy</html>"),
        Reply(402, {"detail": "no funds"}),
        Reset(),
    ],
    ids=str,
)
def test_not_yet_in_every_form_is_asked_again(
    server: TinkerServer, sampler: tinkex.SamplingClient, meanwhile: object
) -> None:
    server.once("/retrieve_future", meanwhile, meanwhile)  # type: ignore[arg-type]
    assert sample(sampler) == TOKENS
    polls = server.requests.to("/retrieve_future")
    assert len(polls) == 3
    assert len({poll.json()["request_id"] for poll in polls}) == 1
    assert [poll.headers["x-tinker-request-iteration"] for poll in polls] == ["0", "1", "2"]
    assert {poll.headers["x-tinker-request-type"] for poll in polls} == {"Sample"}
    assert len(server.requests.to("/asample")) == 1


def test_a_long_poll_that_runs_out_is_asked_again(server: TinkerServer) -> None:
    server.once("/retrieve_future", Hang(), Hang())
    with tinkex.ServiceClient(config=config(server, poll_timeout=1.0)) as service:
        assert sample(service.create_sampling_client(base_model="tinkex/byte-lm")) == TOKENS
    assert len(server.requests.to("/retrieve_future")) == 3


def test_a_proto_result_is_read_as_proto(server: TinkerServer, sampler: tinkex.SamplingClient) -> None:
    message = pb.SampleResponse()
    message.sequences.add(stop_reason=pb.STOP_REASON_STOP, tokens=b"\x07\0\0\0")
    body = message.SerializeToString()
    server.once("/retrieve_future", Reply(200, body, {"Content-Type": "application/x-protobuf"}))
    [sequence] = sampler.sample(PROMPT, 1, PARAMS).result(60).sequences
    assert (sequence.tokens, sequence.stop_reason) == ([7], "stop")
    [poll] = server.requests.to("/retrieve_future")
    assert "application/x-protobuf" in poll.headers["accept"]


def test_a_large_result_is_announced_and_then_fetched(
    server: TinkerServer, sampler: tinkex.SamplingClient
) -> None:
    server.once("/retrieve_future", {"status": "complete_metadata", "response_payload_size": 10**9})
    assert sample(sampler) == TOKENS
    first, second = (poll.json() for poll in server.requests.to("/retrieve_future"))
    assert first["allow_metadata_only"] is True
    assert "allow_metadata_only" not in second


def test_failed_work_is_never_tried_again(server: TinkerServer, sampler: tinkex.SamplingClient) -> None:
    server.on("/retrieve_future", {"error": "prompt too long", "category": "user"})
    with pytest.raises(tinkex.RequestFailedError, match="prompt too long") as caught:
        sample(sampler)
    assert caught.value.category == "user"
    assert caught.value.category is types.RequestErrorCategory.User
    assert caught.value.request_id == server.requests.to("/retrieve_future")[0].json()["request_id"]
    assert len(server.requests.to("/retrieve_future")) == 1
    assert len(server.requests.to("/asample")) == 1


def test_a_400_with_detail_is_failed_work(server: TinkerServer, sampler: tinkex.SamplingClient) -> None:
    server.on("/retrieve_future", Reply(400, {"detail": "rank too high"}))
    with pytest.raises(tinkex.RequestFailedError, match="rank too high"):
        sample(sampler)
    assert len(server.requests.to("/retrieve_future")) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 422])
def test_other_refusals_are_final(server: TinkerServer, sampler: tinkex.SamplingClient, status: int) -> None:
    server.on("/retrieve_future", status)
    with pytest.raises(tinkex.APIStatusError) as caught:
        sample(sampler)
    assert caught.value.status_code == status
    assert isinstance(caught.value, ValueError)  # as with the official SDK
    assert len(server.requests.to("/retrieve_future")) == 1


def test_a_refusal_of_the_request_itself_is_no_value_error(
    server: TinkerServer, sampler: tinkex.SamplingClient
) -> None:
    server.on("/asample", 404)
    with pytest.raises(tinkex.NotFoundError) as caught:
        sample(sampler)
    assert not isinstance(caught.value, ValueError)


def test_a_result_announced_without_a_size_is_fetched(
    server: TinkerServer, sampler: tinkex.SamplingClient
) -> None:
    announced = {"status": "complete_metadata"}
    server.on("/retrieve_future", when(lambda r: "allow_metadata_only" in r.json(), announced))
    assert sample(sampler) == TOKENS
    assert len(server.requests.to("/retrieve_future")) == 2
