"""Training: the ordered lane, chunks, formats, and what happens when an outcome is unknown."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, wait
from typing import Any

import numpy as np
import pytest
import zstandard
from clients import config, datum, seq_ids, when
from servers import Hang, Reply, Request, Reset, ScriptedServer

import tinkex
from tinkex import types
from tinkex.training import wire_format as negotiation
from tinkex.training.chunking import join, split
from tinkex.wire import messages_pb2 as pb

DATUM = datum(1, 2, 3)


@pytest.fixture(autouse=True)
def nothing_known_of_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(negotiation, "_found", {})


@pytest.fixture
def service(server: ScriptedServer) -> Iterator[tinkex.ServiceClient]:
    with tinkex.ServiceClient(config=config(server, wire_format="json", outage_timeout=0.3)) as made:
        yield made


@pytest.fixture
def training(service: tinkex.ServiceClient) -> tinkex.TrainingClient:
    return service.create_lora_training_client("base")


def test_requests_are_numbered_in_the_order_of_the_calls(
    server: ScriptedServer, training: tinkex.TrainingClient
) -> None:
    futures: list[Future[Any]] = []
    for _ in range(10):
        futures += [training.forward_backward([DATUM], "cross_entropy"), training.optim_step()]
    futures.append(training.save_state("a"))
    wait(futures, 10)
    numbered = [
        (request.json()["seq_id"], request.path.rpartition("/")[2])
        for request in server.requests
        if b'"seq_id"' in request.body
    ]
    paths = ["forward_backward", "optim_step"] * 10 + ["save_weights"]
    assert numbered == list(enumerate(paths, 1))
    assert futures[-1].result().path.endswith("/weights/a")


def test_calls_from_many_threads_leave_no_gap(
    server: ScriptedServer, training: tinkex.TrainingClient
) -> None:
    def work() -> None:
        for _ in range(20):
            training.optim_step().result(10)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert seq_ids(server, "/optim_step") == list(range(1, 161))


def test_a_call_does_not_wait_for_the_server(server: ScriptedServer, training: tinkex.TrainingClient) -> None:
    server.on("/optim_step", Hang())
    began = time.monotonic()
    futures = [training.optim_step() for _ in range(20)]
    assert time.monotonic() - began < 0.5
    assert not any(future.done() for future in futures)


def test_a_call_cancelled_before_it_is_sent_leaves_no_gap(
    server: ScriptedServer, training: tinkex.TrainingClient
) -> None:
    hang = Hang()
    server.once("/optim_step", hang)
    first = training.optim_step()
    server.requests.wait_for("/optim_step")
    second, third = training.optim_step(), training.optim_step()
    assert second.cancel()
    hang.release()
    first.result(5)
    third.result(5)
    assert seq_ids(server, "/optim_step") == [1, 2]


def test_a_refused_call_gives_its_number_to_the_next(
    server: ScriptedServer, training: tinkex.TrainingClient
) -> None:
    training.optim_step().result(5)
    server.once("/forward_backward", Reply(422, {"detail": "no such loss"}))
    with pytest.raises(tinkex.UnprocessableEntityError, match="no such loss"):
        training.forward_backward([DATUM], "cross_entropy").result(5)
    training.optim_step().result(5)
    assert seq_ids(server) == [1, 2, 2]


def test_a_retry_repeats_the_same_number_and_bytes(
    server: ScriptedServer, training: tinkex.TrainingClient
) -> None:
    server.once("/forward_backward", 503, Reset(), 429)
    training.forward_backward([DATUM], "cross_entropy").result(5)
    bodies = {request.body for request in server.requests.to("/forward_backward")}
    assert len(bodies) == 1
    assert len(server.requests.to("/forward_backward")) == 4


def test_a_forgotten_promise_is_asked_for_under_the_same_number(
    server: ScriptedServer, training: tinkex.TrainingClient
) -> None:
    server.once("/retrieve_future", 410)
    training.optim_step().result(5)
    assert seq_ids(server, "/optim_step") == [1, 1]


def test_a_first_request_is_tried_again_while_its_format_is_still_unknown(server: ScriptedServer) -> None:
    server.once("/forward_backward", 503, Reset(), 429)
    with tinkex.ServiceClient(config=config(server)) as service:
        training = service.create_lora_training_client("base")
        training.forward_backward([DATUM], "cross_entropy").result(5)
    sent = server.requests.to("/forward_backward")[:4]  # the fourth is answered: no proto, please
    assert {request.headers["content-type"] for request in sent} == {"application/x-protobuf"}
    assert len({(request.body, request.headers["x-idempotency-key"]) for request in sent}) == 1


def test_a_forgotten_promise_that_cannot_be_asked_for_again_poisons_the_client(
    server: ScriptedServer, training: tinkex.TrainingClient
) -> None:
    server.once("/retrieve_future", 410)
    server.once("/optim_step", None)
    server.on("/optim_step", Reset())
    with pytest.raises(tinkex.ClientPoisonedError, match="could not be learned"):
        training.optim_step().result(10)


def test_an_unknown_outcome_poisons_the_client(
    server: ScriptedServer, training: tinkex.TrainingClient
) -> None:
    path = training.save_state("before").result(5).path
    server.on("/optim_step", Reset())
    queued = [training.optim_step(), training.optim_step()]
    for future in queued:
        with pytest.raises(tinkex.ClientPoisonedError, match="before") as caught:
            future.result(10)
        assert caught.value.checkpoint == path
        assert isinstance(caught.value.__cause__, tinkex.APIConnectionError)
    sent = len(server.requests)
    with pytest.raises(tinkex.ClientPoisonedError):
        training.forward_backward([DATUM], "cross_entropy")
    assert len(server.requests) == sent


@pytest.mark.parametrize(
    "answers",
    [
        (Reply(200, b"<html>a proxy's</html>"),),
        (Reset(), 429, 429, 429),
        (503, 401),
    ],
)
def test_an_outcome_that_was_open_at_any_try_poisons_the_client(
    server: ScriptedServer, training: tinkex.TrainingClient, answers: tuple[Any, ...]
) -> None:
    server.once("/optim_step", *answers)
    with pytest.raises(tinkex.ClientPoisonedError, match="may or may not have been accepted"):
        training.optim_step().result(5)
    assert len(server.requests.to("/optim_step")) == len(answers)
    with pytest.raises(tinkex.ClientPoisonedError):
        training.optim_step()


def test_who_refuses_a_body_has_accepted_no_earlier_try_of_it(
    server: ScriptedServer, training: tinkex.TrainingClient
) -> None:
    server.once("/optim_step", 504, 400)
    with pytest.raises(tinkex.BadRequestError):
        training.optim_step().result(5)
    training.optim_step().result(5)
    assert seq_ids(server, "/optim_step") == [1, 1, 1]


@pytest.mark.parametrize("answers", [(503,) * 4, (400,)])
def test_a_forgotten_request_that_is_refused_the_second_time_poisons_the_client(
    server: ScriptedServer, training: tinkex.TrainingClient, answers: tuple[int, ...]
) -> None:
    server.once("/retrieve_future", 410)
    server.once("/optim_step", None, *answers)
    with pytest.raises(tinkex.ClientPoisonedError, match="could not be learned"):
        training.optim_step().result(5)


def test_a_server_that_fails_all_polls_poisons_the_client(
    server: ScriptedServer, training: tinkex.TrainingClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinkex.polling.backoff.BACKOFF_FIRST", 0.01)
    server.on("/retrieve_future", 503)
    with pytest.raises(tinkex.ClientPoisonedError, match="could not be learned"):
        training.optim_step().result(10)


def test_breaks_far_apart_are_not_one_long_outage(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poll that runs out was held by a server that is there."""
    monkeypatch.setattr("tinkex.polling.backoff.BACKOFF_FIRST", 0.01)
    server.once("/retrieve_future", Reset(), *[Hang() for _ in range(4)], Reset())
    settings = config(server, wire_format="json", outage_timeout=0.4, poll_timeout=0.2)
    with tinkex.ServiceClient(config=settings) as service:
        server.once("/retrieve_future", None)
        training = service.create_lora_training_client("base")
        training.optim_step().result(10)


def test_an_observer_that_fails_loses_no_result(
    server: ScriptedServer, training: tinkex.TrainingClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise ValueError("mine")

    monkeypatch.setattr(training, "on_queue_state_change", fail)
    server.once("/retrieve_future", {"type": "try_again", "queue_state": "active", "request_id": "r"})
    training.optim_step().result(5)
    training.optim_step().result(5)


@pytest.mark.parametrize("answer", [None, 400])
def test_a_done_callback_may_wait_for_another_call(
    server: ScriptedServer, training: tinkex.TrainingClient, answer: int | None
) -> None:
    held = Hang(answer)
    server.once("/optim_step", held)
    second: Future[types.OptimStepResponse] = Future()
    first = training.optim_step()
    first.add_done_callback(lambda _: second.set_result(training.optim_step().result(5)))
    held.release()
    assert second.result(10) is not None


def test_a_callback_that_exits_ends_nothing_else(
    server: ScriptedServer, training: tinkex.TrainingClient
) -> None:
    def leave(_: object) -> None:
        raise SystemExit

    held = Hang(400)
    server.once("/optim_step", held)
    training.optim_step().add_done_callback(leave)
    held.release()
    training.optim_step().result(5)


def test_chunks_go_out_where_there_are_no_more_threads(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.on("/client/config", {"fwdbwd_max_chunk_len": 1})
    with tinkex.ServiceClient(config=config(server, wire_format="json")) as service:
        training = service.create_lora_training_client("base")
        start = threading.Thread.start

        def fail(thread: threading.Thread) -> None:
            if thread.name.startswith("tinkex-work"):
                raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", fail)
        output = training.forward_backward([DATUM] * 3, "cross_entropy").result(10)
    assert len(output.loss_fn_outputs) == 3
    assert sorted(seq_ids(server, "/forward_backward")) == [1, 2, 3]


def test_a_result_that_cannot_be_learned_poisons_the_client(
    server: ScriptedServer, training: tinkex.TrainingClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinkex.polling.backoff.BACKOFF_FIRST", 0.01)
    server.on("/retrieve_future", Reset())
    with pytest.raises(tinkex.ClientPoisonedError, match="no state was saved"):
        training.optim_step().result(10)


def test_failed_work_does_not_poison(server: ScriptedServer, training: tinkex.TrainingClient) -> None:
    server.once("/retrieve_future", {"error": "boom", "category": "server"})
    with pytest.raises(tinkex.RequestFailedError, match="boom"):
        training.optim_step().result(5)
    training.optim_step().result(5)


def test_a_server_that_cannot_be_reached_at_all_does_not_poison(
    server: ScriptedServer, service: tinkex.ServiceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    import requests

    training = service.create_lora_training_client("base")
    plain = requests.Session.send
    from urllib3.exceptions import NewConnectionError

    def refuse(*args: object, **kwargs: object) -> requests.Response:
        raise requests.exceptions.ConnectionError(NewConnectionError(None, "refused"))  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(requests.Session, "send", refuse)
        with pytest.raises(tinkex.APIConnectionError):
            training.optim_step().result(10)
    assert requests.Session.send is plain
    training.optim_step().result(5)
    assert seq_ids(server, "/optim_step") == [1]


def test_a_large_batch_travels_in_chunks_and_comes_back_whole(server: ScriptedServer) -> None:
    server.on("/client/config", {"fwdbwd_max_chunk_len": 2, "parallel_fwdbwd_chunks": True})
    with tinkex.ServiceClient(config=config(server, wire_format="json")) as service:
        training = service.create_lora_training_client("base")
        data = [datum(*range(length + 1)) for length in (1, 2, 3, 4, 5)]
        output = training.forward_backward(data, "cross_entropy").result(10)
        training.optim_step().result(5)
    assert [len(tensors["logprobs"].data) for tensors in output.loss_fn_outputs] == [1, 2, 3, 4, 5]
    assert output.metrics == {"loss:sum": 15.0}
    sent = seq_ids(server, "/forward_backward")
    assert sorted(sent) == [1, 2, 3]
    assert sent[-1] == 1, "the first chunk goes last, so that the server sees the batch whole"
    assert seq_ids(server, "/optim_step") == [4]


def test_without_parallel_sending_the_chunks_go_in_order(server: ScriptedServer) -> None:
    server.on("/client/config", {"fwdbwd_max_chunk_len": 1, "parallel_fwdbwd_chunks": False})
    with tinkex.ServiceClient(config=config(server, wire_format="json")) as service:
        training = service.create_lora_training_client("base")
        training.forward_backward([DATUM] * 4, "cross_entropy").result(10)
    assert seq_ids(server, "/forward_backward") == [1, 2, 3, 4]


def test_half_a_batch_poisons(server: ScriptedServer) -> None:
    server.on("/client/config", {"fwdbwd_max_chunk_len": 1, "parallel_fwdbwd_chunks": False})
    server.on("/forward_backward", when(lambda request: request.json()["seq_id"] == 2, 422))
    with tinkex.ServiceClient(config=config(server, wire_format="json")) as service:
        training = service.create_lora_training_client("base")
        with pytest.raises(tinkex.ClientPoisonedError, match="1 of 3"):
            training.forward_backward([DATUM] * 3, "cross_entropy").result(10)


def test_chunks_keep_the_order_and_the_bounds() -> None:
    data = [datum(*range(length)) for length in (2, 50, 3, 4, 2, 2, 2)]
    chunks = split(data, 3, 100)
    assert [one for chunk in chunks for one in chunk] == data
    assert all(len(chunk) <= 3 for chunk in chunks)
    assert all(sum(one.nbytes for one in chunk) <= 100 for chunk in chunks if len(chunk) > 1)


def test_metrics_are_reduced_by_their_suffix() -> None:
    def output(count: int, **metrics: float) -> types.ForwardBackwardOutput:
        named = {name.replace("_", ":"): value for name, value in metrics.items()}
        return types.ForwardBackwardOutput("x", [{}] * count, named)

    joined = join(
        [
            output(1, a_sum=1, a_min=1, a_max=1, a_mean=1, a_slack=1, a_hash2=2**63, a_unique=5),
            output(3, a_sum=2, a_min=2, a_max=2, a_mean=2, a_slack=2, a_hash2=2**63 + 7, a_unique=6, b_sum=1),
        ]
    )
    assert joined.metrics == {
        "a:sum": 3,
        "a:min": 1,
        "a:max": 2,
        "a:mean": 1.75,
        "a:slack": 0.25,
        "a:hash2": 7,
        "a:unique": 5,
        "a:unique_1": 6,
        "b:sum": 1,
    }
    assert len(joined.loss_fn_outputs) == 4


def proto_only(request: Request) -> Reply | None:
    if request.headers["content-type"] != "application/x-protobuf":
        return Reply(415, {"detail": "proto only"})
    assert pb.ForwardBackwardRequest.FromString(request.body).data
    return Reply(200, {"request_id": "proto-work"})


@pytest.mark.parametrize("refusal", [400, 415, 422, 500])
def test_a_server_that_refuses_proto_gets_json_from_then_on(server: ScriptedServer, refusal: int) -> None:
    server.on("/forward_backward", when(lambda r: "protobuf" in r.headers["content-type"], refusal))
    with tinkex.ServiceClient(config=config(server)) as service:
        training = service.create_lora_training_client("base")
        for _ in range(3):
            training.forward_backward([DATUM], "cross_entropy").result(5)
        training.forward([DATUM], "cross_entropy").result(5)
    formats = ["protobuf" in r.headers["content-type"] for r in server.requests.to("/forward_backward")]
    assert formats == [True, False, False, False]
    assert seq_ids(server) == [1, 2, 3, 4]
    assert len(server.requests.to("/forward")) == 1


def test_a_server_that_takes_proto_keeps_getting_it(server: ScriptedServer) -> None:
    message = pb.ForwardBackwardOutput(loss_fn_output_type="x")
    result = Reply(200, message.SerializeToString(), {"Content-Type": "application/x-protobuf"})
    server.on("/forward_backward", proto_only)
    server.on("/retrieve_future", when(lambda r: r.json()["request_id"] == "proto-work", result))
    with tinkex.ServiceClient(config=config(server)) as service:
        training = service.create_lora_training_client("base")
        assert training.forward_backward([DATUM], "cross_entropy").result(5).loss_fn_output_type == "x"
        training.forward([DATUM], "cross_entropy").result(5)
        server.once("/forward_backward", Reply(422, {"detail": "bad loss"}))
        with pytest.raises(tinkex.UnprocessableEntityError, match="bad loss"):
            training.forward_backward([DATUM], "bad").result(5)
    sent = [pb.ForwardBackwardRequest.FromString(r.body) for r in server.requests.to("/forward_backward")]
    assert [(one.seq_id, one.forward_only) for one in sent] == [(1, False), (2, True), (3, False)]


@pytest.mark.parametrize(
    ("status", "error"), [(503, tinkex.ClientPoisonedError), (429, tinkex.RateLimitError)]
)
def test_what_becomes_of_the_json_is_what_became_of_the_request(
    server: ScriptedServer, status: int, error: type[Exception]
) -> None:
    server.on(
        "/forward_backward",
        lambda request: status if request.headers["content-type"] == "application/json" else 415,
    )
    with tinkex.ServiceClient(config=config(server)) as service:
        training = service.create_lora_training_client("base")
        with pytest.raises(error):
            training.forward_backward([DATUM], "cross_entropy").result(5)


def test_a_refusal_of_both_formats_is_the_refusal_of_the_work(server: ScriptedServer) -> None:
    def refuse(request: Request) -> Reply:
        proto = "protobuf" in request.headers["content-type"]
        return Reply(422, {"detail": "bad loss"}) if proto else Reply(415, {"detail": "proto only"})

    server.on("/forward_backward", refuse)
    with tinkex.ServiceClient(config=config(server)) as service:
        training = service.create_lora_training_client("base")
        with pytest.raises(tinkex.UnprocessableEntityError, match="bad loss"):
            training.forward_backward([DATUM], "bad").result(5)


def test_a_custom_loss_sends_its_negative_gradient_as_weights(
    server: ScriptedServer, training: tinkex.TrainingClient
) -> None:
    def loss(
        data: list[types.Datum], logprobs: list[np.ndarray]
    ) -> tuple[float, dict[str, float], list[np.ndarray]]:
        assert data == [DATUM]
        return 3.5, {"entropy": 1.0}, [2.0 * values for values in logprobs]

    def with_gradients(data: list[types.Datum], logprobs: list) -> tuple:  # type: ignore[type-arg]
        as_arrays = [np.asarray(getattr(values, "detach", lambda v=values: v)()) for values in logprobs]
        return loss(data, as_arrays)

    output = training.forward_backward_custom([DATUM], with_gradients).result(10)
    assert output.metrics["loss:sum"] == 3.5
    assert output.metrics["entropy"] == 1.0
    assert output.metrics["surrogate_loss:sum"] == 2.0, "what the server said of the backward pass"
    [backward] = server.requests.to("/forward_backward")
    weights = backward.json()["forward_backward_input"]["data"][0]["loss_fn_inputs"]["weights"]["data"]
    assert weights == [2.0, 2.0], "logprobs are -1, so the gradient is -2 and the weight 2"
    assert len(server.requests.to("/forward")) == 1


def test_the_data_of_a_custom_loss_may_come_from_an_iterator(training: tinkex.TrainingClient) -> None:
    def loss(data: list[types.Datum], logprobs: list) -> tuple:  # type: ignore[type-arg]
        return len(data), {}, [np.zeros(2, np.float32) for _ in logprobs]

    output = training.forward_backward_custom(iter([DATUM, DATUM]), loss).result(10)  # type: ignore[arg-type]
    assert output.metrics["loss:sum"] == 2.0


def test_a_datum_without_weights_is_sent_forward_with_zeros(
    server: ScriptedServer, training: tinkex.TrainingClient
) -> None:
    bare = types.Datum(DATUM.model_input, {"target_tokens": [[2, 3], [4, 5]], "advantages": [1.0, 2.0]})
    training.forward_backward_custom([bare], lambda data, logprobs: (0, {}, [np.zeros(4)])).result(10)
    [forward] = server.requests.to("/forward")
    [sent] = forward.json()["forward_input"]["data"]
    assert set(sent["loss_fn_inputs"]) == {"target_tokens", "weights"}
    assert sent["loss_fn_inputs"]["weights"] == {"data": [0.0] * 4, "dtype": "float32", "shape": [2, 2]}


def test_without_torch_a_loss_cannot_be_traced_and_nothing_is_sent(
    server: ScriptedServer, service: tinkex.ServiceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("torch", "torch.fx"):
        monkeypatch.setitem(sys.modules, name, None)
    before = len(server.requests)
    with pytest.raises(ImportError, match="pip install torch"):
        service.create_custom_loss(lambda logprobs: (logprobs.sum(), {}), {"logprobs": 1})
    assert len(server.requests) == before


def test_an_error_in_a_custom_loss_reaches_the_caller_and_the_lane_goes_on(
    server: ScriptedServer, training: tinkex.TrainingClient
) -> None:
    def loss(data: object, logprobs: object) -> tuple[Any, dict[str, float]]:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        training.forward_backward_custom([DATUM], loss).result(5)
    training.optim_step().result(5)
    assert seq_ids(server) == [1, 2]


def test_a_custom_loss_is_of_logprobs_and_of_nothing_else(
    server: ScriptedServer, training: tinkex.TrainingClient
) -> None:
    def loss(data: object, logprobs: object) -> tuple[float, dict[str, float], list[list[float]]]:
        return 0.0, {}, [[0.0, 0.0]]

    with pytest.warns(DeprecationWarning, match="loss_type_input"):
        training.forward_backward_custom([DATUM], loss, loss_type_input="logprobs").result(10)
    with pytest.raises(tinkex.InputError, match="'logprobs', not 'logits'"):
        training.forward_backward_custom([DATUM], loss, loss_type_input="logits")  # type: ignore[arg-type]
    assert len(server.requests.to("/forward_backward")) == 1


def test_weights_of_another_account_are_loaded_with_its_token(
    server: ScriptedServer, training: tinkex.TrainingClient
) -> None:
    path = "tinker://run/weights/a"
    wait(
        [
            training.load_state(path, "theirs"),
            training.load_state_with_optimizer(path, weights_access_token="theirs"),
            asyncio.run(training.load_state_async(path, "theirs")),
            asyncio.run(training.load_state_with_optimizer_async(path, "theirs")),
            training.load_state(path),
        ],
        10,
    )
    bodies = [request.json() for request in server.requests.to("/load_weights")]
    assert [body["optimizer"] for body in bodies] == [False, True, False, True, False]
    assert [body.get("weights_access_token") for body in bodies] == ["theirs"] * 4 + [None]
    assert "weights_access_token" not in bodies[-1]


def test_other_optimizers_travel_under_their_own_name(
    server: ScriptedServer, training: tinkex.TrainingClient
) -> None:
    training.optim_step(types.DimuonParams(learning_rate=0.5)).result(5)
    training.optim_step(adam_params=types.AdamParams(learning_rate=0.25)).result(5)
    dimuon, adam = (request.json() for request in server.requests.to("/optim_step"))
    assert dimuon["optimizer_params"] == {
        "type": "dimuon",
        "learning_rate": 0.5,
        "grad_clip_norm": 0.0,
        "beta1": 0.9,
    }
    assert adam["adam_params"]["learning_rate"] == 0.25
    assert "adam_params" not in dimuon


def test_a_sampler_of_the_present_weights_comes_after_the_steps_before_it(
    server: ScriptedServer, training: tinkex.TrainingClient
) -> None:
    training.optim_step()
    sampler = training.save_weights_and_get_sampling_client()
    assert sampler.sample(types.ModelInput.from_ints([1]), 1, types.SamplingParams()).result(5)
    assert seq_ids(server, "/save_weights_for_sampler") == [2]
    assert sampler.get_base_model() == "base"


def test_a_server_without_ephemeral_samplers_names_a_path(
    server: ScriptedServer, training: tinkex.TrainingClient
) -> None:
    asked = when(lambda r: r.json()["request_id"] == "saved", {"path": "tinker://m/sampler_weights/1"})
    server.once("/save_weights_for_sampler", {"request_id": "saved"})
    server.on("/retrieve_future", asked)
    training.save_weights_and_get_sampling_client()
    [opened] = server.requests.to("/create_sampling_session")
    assert opened.json()["model_path"] == "tinker://m/sampler_weights/1"


@pytest.mark.parametrize("ephemeral", [True, False])
def test_samplers_record_stability_info_where_that_is_asked_for(
    server: ScriptedServer, training: tinkex.TrainingClient, ephemeral: bool
) -> None:
    if not ephemeral:
        server.once("/save_weights_for_sampler", *[{"request_id": "saved"}] * 2)
        saved = {"path": "tinker://m/sampler_weights/1"}
        server.on("/retrieve_future", when(lambda r: r.json()["request_id"] == "saved", saved))
    path = "tinker://m/sampler_weights/2"
    for sampler in (
        training.save_weights_and_get_sampling_client(record_stability_info=True),
        training.save_weights_and_get_sampling_client_async(None, None, True, "inflight").result(5),
        training.create_sampling_client(path, record_stability_info=True),
        asyncio.run(training.create_sampling_client_async(path, None, True)),
    ):
        sampler.sample(types.ModelInput.from_ints([1]), 1, types.SamplingParams()).result(5)
    assert [request.json().get("record_stability_info") for request in server.requests.to("/asample")] == [
        True
    ] * 4


def test_an_unloaded_model_takes_no_more_work(
    server: ScriptedServer, training: tinkex.TrainingClient
) -> None:
    training.optim_step()
    training.unload().result(5)
    assert [r.path.rpartition("/")[2] for r in server.requests if r.path.endswith(("step", "model"))] == [
        "create_model",
        "optim_step",
        "unload_model",
    ]
    with pytest.raises(tinkex.ClientClosedError, match="unloaded"):
        training.optim_step()


def test_a_forgotten_unload_is_asked_for_again(
    server: ScriptedServer, training: tinkex.TrainingClient
) -> None:
    server.once("/retrieve_future", 410)
    training.unload().result(5)
    assert len(server.requests.to("/unload_model")) == 2


def test_an_unload_that_failed_may_be_tried_again(
    server: ScriptedServer, training: tinkex.TrainingClient
) -> None:
    server.once("/unload_model", *[503] * 4)
    with pytest.raises(tinkex.InternalServerError):
        training.unload().result(5)
    training.unload().result(5)


def test_futures_can_be_awaited(training: tinkex.TrainingClient) -> None:
    async def work() -> types.OptimStepResponse:
        await training.forward_backward([DATUM], "cross_entropy")
        future = await training.optim_step_async()
        return await future.result_async(5)

    assert asyncio.run(work()) == types.OptimStepResponse()


def test_a_created_client_is_its_own_finished_future(training: tinkex.TrainingClient) -> None:
    async def work() -> tinkex.TrainingClient:
        return await training

    assert training.result() is training
    assert training.done()
    assert asyncio.run(work()) is training


def test_proto_bodies_are_compressed_when_the_server_asks_for_it(server: ScriptedServer) -> None:
    server.on("/client/config", {"proto_compress_fwdbwd": True})
    server.on("/forward_backward", {"request_id": "compressed"})
    answer = {"loss_fn_output_type": "x", "loss_fn_outputs": [], "metrics": {}}
    server.on("/retrieve_future", when(lambda r: r.json()["request_id"] == "compressed", answer))
    with tinkex.ServiceClient(config=config(server)) as service:
        training = service.create_lora_training_client("base")
        training.forward_backward([DATUM] * 50, "cross_entropy").result(5)
    [request] = server.requests.to("/forward_backward")
    assert request.headers["content-encoding"] == "zstd"
    sent = pb.ForwardBackwardRequest.FromString(zstandard.decompress(request.body))
    assert len(sent.data) == 50
    assert len(request.body) < sent.ByteSize()
