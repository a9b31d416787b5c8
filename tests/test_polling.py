"""Every answer a server may give to the question what became of a request."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import CancelledError

import pytest
from clients import config
from servers import Hang, Reply, Reset, ScriptedServer

import tinkex
from tinkex import types
from tinkex.polling import backoff as patience
from tinkex.wire import messages_pb2 as pb

PROMPT = types.ModelInput.from_ints([1, 2])
PARAMS = types.SamplingParams(max_tokens=3)
NOT_YET = {"type": "try_again", "queue_state": "active", "request_id": "x"}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "BACKOFF_FIRST", 0.01)
    monkeypatch.setattr(patience, "BACKOFF_LONGEST", 0.05)
    monkeypatch.setattr(patience, "BILLING_PAUSE", 0.02)


@pytest.fixture
def sampler(server: ScriptedServer) -> Iterator[tinkex.SamplingClient]:
    with tinkex.ServiceClient(config=config(server, poll_timeout=0.3, outage_timeout=0.5)) as service:
        yield service.create_sampling_client(base_model="base")


def sample(sampler: tinkex.SamplingClient) -> list[int]:
    return sampler.sample(PROMPT, 1, PARAMS).result(10).sequences[0].tokens


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
    server: ScriptedServer, sampler: tinkex.SamplingClient, meanwhile: object
) -> None:
    server.once("/retrieve_future", meanwhile, meanwhile)  # type: ignore[arg-type]
    assert sample(sampler) == [1, 2, 3]
    polls = server.requests.to("/retrieve_future")
    assert len(polls) == 3
    assert len({poll.json()["request_id"] for poll in polls}) == 1
    assert [poll.headers["x-tinker-request-iteration"] for poll in polls] == ["0", "1", "2"]
    assert {poll.headers["x-tinker-request-type"] for poll in polls} == {"Sample"}
    assert len(server.requests.to("/asample")) == 1


def test_a_long_poll_that_runs_out_is_asked_again(
    server: ScriptedServer, sampler: tinkex.SamplingClient
) -> None:
    server.once("/retrieve_future", Hang(), Hang())
    assert sample(sampler) == [1, 2, 3]
    assert len(server.requests.to("/retrieve_future")) == 3


def test_a_proto_result_is_read_as_proto(server: ScriptedServer, sampler: tinkex.SamplingClient) -> None:
    message = pb.SampleResponse()
    message.sequences.add(stop_reason=pb.STOP, tokens=b"\x07\0\0\0")
    body = message.SerializeToString()
    server.once("/retrieve_future", Reply(200, body, {"Content-Type": "application/x-protobuf"}))
    [sequence] = sampler.sample(PROMPT, 1, PARAMS).result(10).sequences
    assert (sequence.tokens, sequence.stop_reason) == ([7], "stop")
    [poll] = server.requests.to("/retrieve_future")
    assert "application/x-protobuf" in poll.headers["accept"]


def test_a_large_result_is_announced_and_then_fetched(
    server: ScriptedServer, sampler: tinkex.SamplingClient
) -> None:
    server.once("/retrieve_future", {"status": "complete_metadata", "response_payload_size": 10**9})
    assert sample(sampler) == [1, 2, 3]
    first, second = (poll.json() for poll in server.requests.to("/retrieve_future"))
    assert first["allow_metadata_only"] is True
    assert "allow_metadata_only" not in second


def test_failed_work_is_never_tried_again(server: ScriptedServer, sampler: tinkex.SamplingClient) -> None:
    server.on("/retrieve_future", {"error": "prompt too long", "category": "user"})
    with pytest.raises(tinkex.RequestFailedError, match="prompt too long") as caught:
        sample(sampler)
    assert caught.value.category == "user"
    assert caught.value.category is types.RequestErrorCategory.User
    assert caught.value.request_id.startswith("request-")
    assert len(server.requests.to("/retrieve_future")) == 1
    assert len(server.requests.to("/asample")) == 1


def test_a_400_with_detail_is_failed_work(server: ScriptedServer, sampler: tinkex.SamplingClient) -> None:
    server.on("/retrieve_future", Reply(400, {"detail": "rank too high"}))
    with pytest.raises(tinkex.RequestFailedError, match="rank too high"):
        sample(sampler)
    assert len(server.requests.to("/retrieve_future")) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 422])
def test_other_refusals_are_final(
    server: ScriptedServer, sampler: tinkex.SamplingClient, status: int
) -> None:
    server.on("/retrieve_future", status)
    with pytest.raises(tinkex.APIStatusError) as caught:
        sample(sampler)
    assert caught.value.status_code == status
    assert len(server.requests.to("/retrieve_future")) == 1


def test_an_odd_400_is_asked_again_three_times_only(
    server: ScriptedServer, sampler: tinkex.SamplingClient
) -> None:
    server.on("/retrieve_future", Reply(400, b""))
    with pytest.raises(tinkex.BadRequestError):
        sample(sampler)
    assert len(server.requests.to("/retrieve_future")) == 4


def test_an_outage_that_lasts_is_an_error(server: ScriptedServer, sampler: tinkex.SamplingClient) -> None:
    server.on("/retrieve_future", 502)
    began = time.monotonic()
    with pytest.raises(tinkex.InternalServerError):
        sample(sampler)
    assert 0.5 <= time.monotonic() - began < 5


def test_a_forgotten_promise_is_submitted_anew_under_a_new_number(
    server: ScriptedServer, sampler: tinkex.SamplingClient
) -> None:
    server.once("/retrieve_future", 410)
    assert sample(sampler) == [1, 2, 3]
    assert [request.json()["seq_id"] for request in server.requests.to("/asample")] == [0, 1]


def test_an_account_that_cannot_be_billed_for_long_is_an_error(server: ScriptedServer) -> None:
    server.on("/client/config", {"billing_exception_max_pause_duration_sec": 0.1})
    server.on("/retrieve_future", 402)
    with tinkex.ServiceClient(config=config(server)) as service:
        sampler = service.create_sampling_client(base_model="base")
        with pytest.raises(tinkex.BillingError):
            sample(sampler)


def test_a_cancelled_sample_is_polled_no_more_and_the_server_is_told(
    server: ScriptedServer, sampler: tinkex.SamplingClient
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
    server: ScriptedServer, sampler: tinkex.SamplingClient
) -> None:
    server.on("/retrieve_future", Hang())
    future = sampler.sample(PROMPT, 1, PARAMS)
    server.requests.wait_for("/retrieve_future")
    assert future.cancel()
    server.requests.wait_for("/client/dynamic_config")
    server.on("/retrieve_future", None)
    assert sample(sampler) == [1, 2, 3]
    assert server.requests.to("/cancel_future") == []


def test_a_pause_of_the_queue_is_told_at_most_once_a_minute(
    server: ScriptedServer, sampler: tinkex.SamplingClient, caplog: pytest.LogCaptureFixture
) -> None:
    paused = {**NOT_YET, "queue_state": "paused_rate_limit", "queue_state_reason": "too many tokens"}
    server.once("/retrieve_future", paused, paused, paused)
    sample(sampler)
    warnings = [record.getMessage() for record in caplog.records if "paused" in record.getMessage()]
    assert len(warnings) == 1
    assert "too many tokens" in warnings[0]
