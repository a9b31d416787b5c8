"""The queue of a model's requests: their order and numbers, and outcomes that cannot be known."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, wait
from typing import Any

import pytest
from clients import DATUM, NOT_YET, client_of, config, seq_ids, wait_until

import tinkex
from tinkex import types
from tinkex.session import session
from tinkex.testing import Hang, Reply, Reset, TinkerServer


def test_requests_are_numbered_in_the_order_of_the_calls(
    server: TinkerServer, training: tinkex.TrainingClient
) -> None:
    futures: list[Future[Any]] = []
    for _ in range(10):
        futures += [training.forward_backward([DATUM], "cross_entropy"), training.optim_step()]
    futures.append(training.save_state("a"))
    wait(futures, 60)
    numbered = [
        (request.json()["seq_id"], request.path.rpartition("/")[2])
        for request in server.requests
        if b'"seq_id"' in request.content
    ]
    paths = ["forward_backward", "optim_step"] * 10 + ["save_weights"]
    assert numbered == list(enumerate(paths, 1))
    assert futures[-1].result().path.endswith("/weights/a")


def test_calls_from_many_threads_leave_no_gap(server: TinkerServer, training: tinkex.TrainingClient) -> None:
    def work() -> None:
        for _ in range(20):
            training.optim_step().result(60)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert seq_ids(server, "/optim_step") == list(range(1, 161))


def test_a_call_does_not_wait_for_the_server(server: TinkerServer, training: tinkex.TrainingClient) -> None:
    server.on("/optim_step", Hang())  # for as long as a request is given: a minute
    began = time.monotonic()
    futures = [training.optim_step() for _ in range(20)]
    assert time.monotonic() - began < 20
    assert not any(future.done() for future in futures)


def test_a_call_cancelled_before_it_is_sent_leaves_no_gap(
    server: TinkerServer, training: tinkex.TrainingClient
) -> None:
    hang = Hang()
    server.once("/optim_step", hang)
    first = training.optim_step()
    server.requests.wait_for("/optim_step")
    second, third = training.optim_step(), training.optim_step()
    assert second.cancel()
    hang.release()
    first.result(60)
    third.result(60)
    assert seq_ids(server, "/optim_step") == [1, 2]


def test_a_refused_call_gives_its_number_to_the_next(
    server: TinkerServer, training: tinkex.TrainingClient
) -> None:
    training.optim_step().result(60)
    server.once("/forward_backward", Reply(422, {"detail": "no such loss"}))
    with pytest.raises(tinkex.UnprocessableEntityError, match="no such loss"):
        training.forward_backward([DATUM], "cross_entropy").result(60)
    training.optim_step().result(60)
    assert seq_ids(server) == [1, 2, 2]


def test_a_retry_repeats_the_same_number_and_bytes(
    server: TinkerServer, training: tinkex.TrainingClient
) -> None:
    server.once("/forward_backward", 503, Reset(), 429)
    training.forward_backward([DATUM], "cross_entropy").result(60)
    bodies = {request.content for request in server.requests.to("/forward_backward")}
    assert len(bodies) == 1
    assert len(server.requests.to("/forward_backward")) == 4


def test_a_forgotten_promise_is_asked_for_under_the_same_number(
    server: TinkerServer, training: tinkex.TrainingClient
) -> None:
    server.once("/retrieve_future", 410)
    training.optim_step().result(60)
    assert seq_ids(server, "/optim_step") == [1, 1]


def test_a_forgotten_promise_that_cannot_be_asked_for_again_poisons_the_client(
    server: TinkerServer, training: tinkex.TrainingClient
) -> None:
    server.once("/retrieve_future", 410)
    server.once("/optim_step", None)
    server.on("/optim_step", Reset())
    with pytest.raises(tinkex.ClientPoisonedError, match="could not be learned"):
        training.optim_step().result(60)


def test_an_unknown_outcome_poisons_the_client(server: TinkerServer, training: tinkex.TrainingClient) -> None:
    path = training.save_state("before").result(60).path
    server.on("/optim_step", Reset())
    queued = [training.optim_step(), training.optim_step()]
    for future in queued:
        with pytest.raises(tinkex.ClientPoisonedError, match="before") as caught:
            future.result(60)
        assert caught.value.checkpoint == path
        assert isinstance(caught.value.__cause__, tinkex.APIConnectionError)
    sent = len(server.requests)
    with pytest.raises(tinkex.ClientPoisonedError):
        training.forward_backward([DATUM], "cross_entropy")
    assert len(server.requests) == sent


@pytest.mark.parametrize(
    "answers",
    [
        (Reply(200, b"<html>a proxy's</html>"),) * 4,
        (Reply(400, b""),) * 4,
        (Reset(), 429, 429, 429),
        (Reset(), Reply(400, b"<html>a proxy's</html>"), 400),
        (503, 401),
        (504, 422),
        (409,) * 4,
    ],
)
def test_an_outcome_that_was_open_at_any_try_poisons_the_client(
    server: TinkerServer, training: tinkex.TrainingClient, answers: tuple[Any, ...]
) -> None:
    server.once("/optim_step", *answers)
    with pytest.raises(tinkex.ClientPoisonedError, match="may or may not have been accepted"):
        training.optim_step().result(60)
    assert len(server.requests.to("/optim_step")) == len(answers)
    with pytest.raises(tinkex.ClientPoisonedError):
        training.optim_step()


@pytest.mark.parametrize(
    "odd",
    [
        Reply(200, b"<html>a proxy's</html>"),
        Reply(200, b""),
        Reply(200, {"request_id": 7}),
        Reply(204, b""),
        Reply(302, b"", {"Location": "http://127.0.0.1:1/"}),
        Reply(400, b""),
        Reply(400, b"<html>a proxy's</html>"),
        Reply(422, b"no"),
        Reply(403, b"<html>a proxy's</html>"),
    ],
    ids=str,
)
def test_an_answer_that_is_not_the_servers_own_is_asked_for_again_under_the_same_number(
    server: TinkerServer, training: tinkex.TrainingClient, odd: Reply
) -> None:
    server.once("/optim_step", Reset(), odd, odd)
    training.optim_step().result(60)
    training.optim_step().result(60)
    assert seq_ids(server, "/optim_step") == [1, 1, 1, 1, 2]


@pytest.mark.parametrize("answers", [(503,) * 4, (400,)])
def test_a_forgotten_request_that_is_refused_the_second_time_poisons_the_client(
    server: TinkerServer, training: tinkex.TrainingClient, answers: tuple[int, ...]
) -> None:
    server.once("/retrieve_future", 410)
    server.once("/optim_step", None, *answers)
    with pytest.raises(tinkex.ClientPoisonedError, match="could not be learned"):
        training.optim_step().result(60)


@pytest.fixture
def hasty(server: TinkerServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[tinkex.TrainingClient]:
    """A client for which an outage is long after 0.3 s."""
    monkeypatch.setattr("tinkex.polling.backoff.BACKOFF_FIRST", 0.01)
    settings = config(server, wire_format="json", outage_timeout=0.3)
    with tinkex.ServiceClient(config=settings) as service:
        yield service.create_lora_training_client("tinkex/byte-lm")


def test_a_server_that_fails_all_polls_poisons_the_client(
    server: TinkerServer, hasty: tinkex.TrainingClient
) -> None:
    server.on("/retrieve_future", 503)
    with pytest.raises(tinkex.ClientPoisonedError, match="could not be learned"):
        hasty.optim_step().result(60)


@pytest.mark.parametrize("answer", [None, 400])
def test_a_done_callback_may_wait_for_another_call(
    server: TinkerServer, training: tinkex.TrainingClient, answer: int | None
) -> None:
    held = Hang(answer)
    server.once("/optim_step", held)
    second: Future[types.OptimStepResponse] = Future()
    first = training.optim_step()
    first.add_done_callback(lambda _: second.set_result(training.optim_step().result(60)))
    held.release()
    assert second.result(60) is not None


def test_a_result_that_cannot_be_learned_poisons_the_client(
    server: TinkerServer, hasty: tinkex.TrainingClient
) -> None:
    server.on("/retrieve_future", Reset())
    with pytest.raises(tinkex.ClientPoisonedError, match="no state was saved"):
        hasty.optim_step().result(60)


def test_failed_work_does_not_poison(server: TinkerServer, training: tinkex.TrainingClient) -> None:
    server.once("/retrieve_future", {"error": "boom", "category": "server"})
    with pytest.raises(tinkex.RequestFailedError, match="boom"):
        training.optim_step().result(60)
    training.optim_step().result(60)


def test_a_server_that_cannot_be_reached_at_all_does_not_poison(
    server: TinkerServer, service: tinkex.ServiceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    import requests

    training = service.create_lora_training_client("tinkex/byte-lm")
    plain = requests.Session.send
    from urllib3.exceptions import NewConnectionError

    def refuse(*args: object, **kwargs: object) -> requests.Response:
        raise requests.exceptions.ConnectionError(NewConnectionError(None, "refused"))  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(requests.Session, "send", refuse)
        with pytest.raises(tinkex.APIConnectionError):
            training.optim_step().result(60)
    assert requests.Session.send is plain
    training.optim_step().result(60)
    assert seq_ids(server, "/optim_step") == [1]


def test_the_outcome_of_a_call_cancelled_while_it_is_sent_is_still_learned(
    server: TinkerServer, training: tinkex.TrainingClient
) -> None:
    hang = Hang()
    server.once("/optim_step", hang)
    server.once("/retrieve_future", 410)  # it must be sent again, or its number would be missing
    first = training.optim_step()
    server.requests.wait_for("/optim_step")
    assert first.cancel()
    hang.release()
    server.requests.wait_for("/optim_step", 2)
    training.optim_step().result(60)
    assert seq_ids(server, "/optim_step") == [1, 1, 2]


def test_a_cancelled_call_of_unknown_outcome_leaves_earlier_calls_alone(
    server: TinkerServer, training: tinkex.TrainingClient
) -> None:
    earlier, lost = Hang(), Hang(404)
    server.once("/retrieve_future", earlier)
    first = training.optim_step()
    polls = len(server.requests.wait_for("/retrieve_future", 2))  # one of them for the model
    server.once("/retrieve_future", lost)
    second = training.optim_step()
    server.requests.wait_for("/retrieve_future", polls + 1)
    server.on("/retrieve_future", Hang())  # so that the third call has no result of its own
    third = training.optim_step()
    assert second.cancel()
    lost.release()
    with pytest.raises(tinkex.ClientPoisonedError):
        third.result(60)
    earlier.release()
    first.result(60)


def test_closing_amid_a_call_of_several_requests_is_no_loss_of_the_model(server: TinkerServer) -> None:
    server.on("/client/config", {"fwdbwd_max_chunk_len": 1})
    with tinkex.ServiceClient(config=config(server, wire_format="json")) as service:
        training = service.create_lora_training_client("tinkex/byte-lm")
        server.once("/retrieve_future", None, Hang())  # of the first request, of the second
        future = training.forward_backward([DATUM, DATUM], "cross_entropy")
        server.requests.wait_for("/retrieve_future", 3)
    with pytest.raises(tinkex.ClientClosedError):
        future.result(60)


def test_calls_behind_a_poisoned_one_fail_even_if_all_threads_poll(
    server: TinkerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "WORK_THREADS", 4)
    with client_of(server) as service:
        training = service.create_lora_training_client("tinkex/byte-lm")
        lost = Hang(404)
        server.once("/retrieve_future", lost)
        server.on("/retrieve_future", NOT_YET)
        futures = [training.optim_step()]
        server.requests.wait_for("/retrieve_future", 2)  # one of them for the model
        futures += [training.optim_step() for _ in range(9)]
        server.requests.wait_for("/optim_step", 10)
        wait_until(  # all four threads poll, after the poll for the model
            lambda: len({one.json()["request_id"] for one in server.requests.to("/retrieve_future")}) == 5
        )
        lost.release()
        for future in futures:
            with pytest.raises(tinkex.ClientPoisonedError):
                future.result(60)
