"""Faults on command: what each does to a client, and its limits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
import requests
from clients import DATUM, PARAMS, PROMPT, TOKENS, config, sample

import tinkex
from tinkex import types
from tinkex.testing import Fault, Hang, Reply, Reset, TinkerServer

STEP = types.AdamParams(learning_rate=1e-3)


@pytest.fixture
def service(server: TinkerServer) -> Iterator[tinkex.ServiceClient]:
    with tinkex.ServiceClient(config=server.config()) as made:
        yield made


def test_requests_are_refused_and_the_client_waits_as_it_is_told(
    server: TinkerServer, sampler: tinkex.SamplingClient
) -> None:
    fault = server.fail_next("asample", status=429, retry_after=0.2, times=2)
    began = time.monotonic()
    assert sample(sampler) == TOKENS
    assert time.monotonic() - began >= 0.4
    assert (fault.used, fault.active) == (2, False)
    assert [request.endpoint for request in fault.requests] == ["asample"] * 2


@pytest.mark.parametrize(("when", "steps_before_the_second_try"), [("before", 0), ("after", 1)])
def test_a_dropped_step_is_done_once(
    server: TinkerServer, training: tinkex.TrainingClient, when: str, steps_before_the_second_try: int
) -> None:
    hang = Hang()
    server.drop("optim_step", when=when)  # type: ignore[arg-type]
    server.on("optim_step", hang, times=1)
    future = training.optim_step(STEP)
    server.requests.wait_for("optim_step", 2)
    for _ in range(1000):
        if server.models[training].steps == steps_before_the_second_try:
            break
        time.sleep(0.01)
    assert server.models[training].steps == steps_before_the_second_try
    hang.release()
    future.result(60)
    assert server.models[training].steps == 1
    assert {request.body.seq_id for request in server.requests.to("optim_step")} == {1}


def test_a_client_whose_every_try_is_dropped_after_the_work_is_poisoned(
    server: TinkerServer, training: tinkex.TrainingClient
) -> None:
    with server.drop("optim_step", when="after", times=None), pytest.raises(tinkex.ClientPoisonedError):
        training.optim_step(STEP).result(60)
    with pytest.raises(tinkex.ClientPoisonedError):
        training.optim_step(STEP).result(60)
    assert server.models[0].steps == 1


def test_an_answer_breaks_off(server: TinkerServer, service: tinkex.ServiceClient) -> None:
    whole = requests.get(f"{server.url}/api/v1/healthz", timeout=60).content
    for at in (None, 0, 3, 10_000):
        server.truncate("healthz", at)
        answer = requests.get(f"{server.url}/api/v1/healthz", timeout=60, stream=True)
        with pytest.raises(requests.exceptions.ChunkedEncodingError) as caught:
            _ = answer.content
        read = len(whole) // 2 if at is None else min(at, len(whole) - 1)
        assert f"{read} bytes read" in str(caught.value)
    server.truncate("retrieve_future", times=2)
    service.create_lora_training_client("tinkex/byte-lm").forward_backward([DATUM], "cross_entropy").result(
        60
    )


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"\xff", "application/octet-stream"), ("no", "text/plain; charset=utf-8"), ([1], "application/json")],
)
def test_any_answer_can_be_given(server: TinkerServer, body: object, content_type: str) -> None:
    server.answer_with("healthz", body=body, headers={"X-Odd": "1"})
    answer = requests.get(f"{server.url}/api/v1/healthz", timeout=60)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, content_type)
    assert answer.content == (body if isinstance(body, bytes) else b"no" if body == "no" else b"[1]")
    assert requests.get(f"{server.url}/api/v1/healthz", timeout=60).json() == {"status": "ok"}


def test_a_pause_for_capacity_is_seen_and_ends(
    server: TinkerServer, training: tinkex.TrainingClient, caplog: pytest.LogCaptureFixture
) -> None:
    with server.pause_capacity(60, reason="too many users"):
        future = training.optim_step(STEP)
        server.requests.wait_for("retrieve_future", 4)
        assert not future.done()
    future.result(60)
    assert "work is paused (too many users)" in caplog.text
    fault = server.pause_capacity(60, times=2)
    training.optim_step(STEP).result(60)
    assert fault.used == 2
    fault = server.pause_capacity(0.1)
    training.optim_step(STEP).result(60)
    assert fault.used > 1
    assert not fault.active


def test_an_expired_session_is_known_at_once(server: TinkerServer, service: tinkex.ServiceClient) -> None:
    training = service.create_lora_training_client("tinkex/byte-lm")
    with tinkex.ServiceClient(config=server.config()) as other:
        assert server.expire_session(service) == [service.session_id]
        with pytest.raises(tinkex.SessionEndedError):
            training.optim_step(STEP)
        other.create_lora_training_client("tinkex/byte-lm").optim_step(STEP).result(60)
        assert server.expire_session(other.session_id) == [other.session_id]
    assert [session.status for session in server.sessions] == ["cancelled", "cancelled"]
    with pytest.raises(tinkex.InputError, match="none"):
        server.expire_session(service)
    assert server.expire_session() == []


@pytest.mark.parametrize("keep", [True, False])
def test_a_restart_forgets_all_but_checkpoints(server: TinkerServer, keep: bool) -> None:
    with tinkex.ServiceClient(config=server.config(max_tries=2)) as service:
        training = service.create_lora_training_client("tinkex/byte-lm")
        path = training.save_state("kept").result(60).path
        server.on("optim_step", Hang(), times=1)
        waiting = training.optim_step(STEP)
        server.requests.wait_for("optim_step")
        server.restart(keep_checkpoints=keep)
        with pytest.raises(tinkex.TinkerError):
            waiting.result(60)
        assert len(server.sessions) == 0
    assert [checkpoint.path for checkpoint in server.checkpoints] == [path] * keep
    assert server.models[0].steps == 0, "what happened can still be asked"
    with tinkex.ServiceClient(config=server.config()) as again:
        make: Callable[[], object] = lambda: again.create_training_client_from_state(path)  # noqa: E731
        if keep:
            make()
        else:
            with pytest.raises(tinkex.NotFoundError):
                make()


def test_a_fault_is_bound_to_a_model(server: TinkerServer, service: tinkex.ServiceClient) -> None:
    one, two = (service.create_lora_training_client("tinkex/byte-lm") for _ in range(2))
    samplers = [each.save_weights_and_get_sampling_client() for each in (one, two)]
    saved = two.save_weights_for_sampler("saved").result(60).path
    samplers.append(service.create_sampling_client(saved))
    faults = [
        server.fail_next("asample", status=422, times=None, model=two),
        server.fail_next("forward_backward", status=422, times=None, model=two.model_id),
        server.answer_with("retrieve_future", status=404, body={"detail": "gone"}, times=None, model=two),
    ]
    one.forward_backward([DATUM], "cross_entropy").result(60)
    sample(samplers[0])
    for sampler in samplers[1:]:
        with pytest.raises(tinkex.UnprocessableEntityError):
            sample(sampler)
    with pytest.raises(tinkex.UnprocessableEntityError):
        two.forward_backward([DATUM], "cross_entropy").result(60)
    with pytest.raises(tinkex.TinkerError):
        two.optim_step(STEP).result(60)
    assert [fault.used for fault in faults] == [2, 1, 1]
    server.clear_faults()
    with server.fail_next("asample", status=422, times=None, model="tinkex/byte-lm") as fault:
        for sampler in samplers:
            with pytest.raises(tinkex.UnprocessableEntityError):
                sample(sampler)
    assert fault.used == 3


def test_faults_come_in_order_and_delays_on_top(server: TinkerServer) -> None:
    def status() -> int:
        return requests.get(f"{server.url}/api/v1/healthz", timeout=60).status_code

    server.on("healthz", 500)
    server.on("healthz", 501)
    server.fail_next("healthz", 502)
    server.fail_next("*", 503)
    with server.delay("/health*", 0.1) as delay:
        began = time.monotonic()
        assert [status() for _ in range(4)] == [502, 503, 501, 501]
        assert time.monotonic() - began >= 0.4
    assert delay.used == 4
    server.clear_faults()
    assert status() == 200


@pytest.mark.parametrize(
    "misuse",
    [
        lambda server: server.fail_next("optimstep"),
        lambda server: server.delay("", 1),
        lambda server: server.drop(None),
        lambda server: server.fail_next("/asamples"),
        lambda server: server.delay("/api/v1/sessions/*/finnish", 1),
        lambda server: server.truncate("/asample*s"),
        lambda server: server.requests.to("asamples"),
        lambda server: server.requests.wait_for("forward-backward", 1),
    ],
)
def test_an_unknown_endpoint_is_an_error_that_lists_them(
    server: TinkerServer, misuse: Callable[[TinkerServer], object]
) -> None:
    with pytest.raises(
        tinkex.InputError, match=r"asample, .*forward_backward, .*optim_step, .*session_heartbeat"
    ):
        misuse(server)


@pytest.mark.parametrize(
    "misuse",
    [
        lambda server: server.drop("optim_step", when="during"),
        lambda server: server.delay("optim_step", -1),
        lambda server: server.delay("optim_step", "1"),
        lambda server: server.fail_next("optim_step", 200),
        lambda server: server.fail_next("optim_step", times=0),
        lambda server: server.fail_next("optim_step", times=1.5),
        lambda server: server.fail_next("optim_step", retry_after=-1),
        lambda server: server.fail_next("optim_step", model=7),
        lambda server: server.truncate("optim_step", at=-1),
        lambda server: server.answer_with("optim_step", status=99),
        lambda server: server.on("optim_step", "a text"),
        lambda server: server.pause_capacity(None),
        lambda server: server.expire_session("unknown"),
        lambda server: server.expire_session(model="tinkex/byte-lm"),
        lambda server: server.fail_next("optim_step", model="tinkex/byte-ml"),
        lambda server: server.delay("optim_step", 1, model="unknown:train:0"),
        lambda server: server.pause_capacity(1, model="unknown"),
        lambda server: server.answer_with("optim_step", content_type="text/plain\r\nSet-Cookie: a"),
        lambda server: server.answer_with("optim_step", headers={"Retry-After": 1}),
    ],
)
def test_other_misuse_is_an_error_at_once(
    server: TinkerServer, misuse: Callable[[TinkerServer], object]
) -> None:
    with pytest.raises(tinkex.InputError):
        misuse(server)


@pytest.mark.parametrize("endpoint", ["/asample", "/api/v1/asample", "/asam*", "*", "/sessions/an-id/finish"])
def test_a_path_of_an_endpoint_is_taken(server: TinkerServer, endpoint: str) -> None:
    assert server.fail_next(endpoint).active


def test_a_name_does_not_mean_the_endpoints_below_it(
    server: TinkerServer, service: tinkex.ServiceClient
) -> None:
    rest = service.create_rest_client()
    path = service.create_lora_training_client("tinkex/byte-lm").save_state("a").result(60).path
    with server.fail_next("sessions", times=None), server.fail_next("training_runs", times=None):
        assert len(rest.list_checkpoints(path.split("/")[2]).result(60).checkpoints) == 1
    with tinkex.ServiceClient(config=server.config()), server.fail_next("sessions"):
        pass
    assert [session.status for session in server.sessions] == ["active", "client_finished"]
    assert server.requests.to("sessions") == server.requests.to("training_runs") == []
    assert len(server.requests.to("finish")) == len(server.requests.to("checkpoints")) == 1
    assert len(server.requests.to("/sessions/*")) == 1


@pytest.mark.parametrize("status", [400, 422])
def test_a_refused_pass_is_not_sent_again_in_another_format(
    server: TinkerServer, service: tinkex.ServiceClient, status: int
) -> None:
    training = service.create_lora_training_client("tinkex/byte-lm")
    server.fail_next("forward_backward", status=status)
    with pytest.raises(tinkex.APIStatusError, match=str(status)):
        training.forward_backward([DATUM], "cross_entropy").result(60)
    assert len(server.requests.to("forward_backward")) == 1


def test_the_session_of_a_model_expires(server: TinkerServer, service: tinkex.ServiceClient) -> None:
    training = service.create_lora_training_client("tinkex/byte-lm")
    for by_client in (True, False):
        with tinkex.ServiceClient(config=server.config()) as second:
            other = second.create_lora_training_client("tinkex/byte-lm")
            ended = server.expire_session(model=other if by_client else other.model_id)
            assert ended == [second.session_id]
            with pytest.raises(tinkex.SessionEndedError):
                other.optim_step(STEP).result(60)
    with tinkex.ServiceClient(config=server.config()) as third:
        sampler = third.create_sampling_client(base_model="tinkex/byte-lm")
        assert server.expire_session(model=sampler) == [third.session_id]
    training.optim_step(STEP).result(60)
    assert server.expire_session(model="tinkex/byte-lm") == [service.session_id]


def test_the_general_primitive(server: TinkerServer) -> None:
    def get(path: str) -> tuple[int, object]:
        answer = requests.get(f"{server.url}/api/v1{path}", timeout=60)
        return answer.status_code, answer.json()

    server.once(
        "healthz", 418, {"a": 1}, Reply(201, [1], {"X-Odd": "1"}), lambda request: {"query": request.query}
    )
    answers = [get("/healthz?b=2") for _ in range(4)]
    assert answers == [
        (418, {"detail": "scripted 418"}),
        (200, {"a": 1}),
        (201, [1]),
        (200, {"query": "b=2"}),
    ]
    for reset in (Reset(), Reset(before=True)):
        server.once("/anything/*", reset)
        with pytest.raises(requests.ConnectionError):
            requests.post(f"{server.url}/anything/at/all", data=b"x" * 10, timeout=60)
    assert [len(request.content) for request in server.requests.to("/anything/*")] == [10, 0]
    server.once("healthz", lambda request: 1 / 0)
    assert "ZeroDivisionError" in str(get("/healthz")[1])
    hang = Hang()
    server.once("healthz", hang)
    with pytest.raises(requests.Timeout):
        requests.get(f"{server.url}/api/v1/healthz", timeout=0.2)
    server.wait_for_connections(0)


def test_a_request_whose_client_gives_up_during_a_delay_is_not_carried_out(server: TinkerServer) -> None:
    with server.delay("create_session", 60), pytest.raises(requests.Timeout):
        requests.post(f"{server.url}/api/v1/create_session", json={}, timeout=0.2)
    server.wait_for_connections(0)
    assert len(server.sessions) == 0


def test_what_happened(server: TinkerServer) -> None:
    for wire_format in ("proto", "json"):
        server.reset()
        with tinkex.ServiceClient(config=server.config(wire_format=wire_format, tags=("a",))) as service:
            training = service.create_lora_training_client("tinkex/byte-lm", rank=4, user_metadata={"b": "c"})
            training.forward_backward([DATUM], "cross_entropy").result(60)
            training.optim_step(STEP).result(60)
            path = training.save_weights_for_sampler("w").result(60).path
            service.create_sampling_client(path).sample(PROMPT, 2, PARAMS).result(60)
        [sent] = server.requests.to("forward_backward")
        for body in (sent.body, sent.body.forward_backward_input):
            assert body.data[0].model_input.to_ints() == [1, 2]
            assert body["data"][0].loss_fn_inputs["target_tokens"].tolist() == [2, 3]
            assert body.loss_fn == "cross_entropy"
        assert (sent.body.model_id, sent.body.seq_id) == (training.model_id, 1)
        assert (sent.method, sent.endpoint) == ("POST", "forward_backward")
        [asked] = server.requests.to("asample")
        assert asked.body.prompt == PROMPT
        assert asked.body.sampling_params == PARAMS
        assert server.requests.to("optim_step")[0].body.adam_params == STEP
        assert server.requests.to("create_model")[0].body.lora_config.rank == 4
        assert {request.headers["x-api-key"] for request in server.requests} == {"[hidden]"}
        assert server.api_key not in repr(server.requests[0])
        times = [request.time for request in server.requests]
        assert times == sorted(times)

        [model], [session], [kept] = server.models, server.sessions, server.checkpoints
        assert (model.steps, model.rank, model.user_metadata) == (1, 4, {"b": "c"})
        assert server.models[training] == server.models[training.model_id] == server.models["tinkex/byte-lm"]
        assert (session.status, session.tags, session.models) == (
            "client_finished",
            ["a"],
            [training.model_id],
        )
        assert (kept.path, kept.kind, kept.step) == (
            path,
            "sampler_weights",
            1,
        )
        assert path in server.checkpoints
        with pytest.raises(KeyError):
            server.models["another"]
        with pytest.raises(AssertionError, match="1 of 2 requests to optim_step"):
            server.requests.wait_for("optim_step", 2, timeout=0.01)
        with pytest.raises(AttributeError, match="model_id"):
            _ = sent.body.nothing


def test_a_server_starts_and_stops_often_and_leaves_no_thread(server: TinkerServer) -> None:
    import threading

    before = threading.active_count()
    again = TinkerServer()
    for _ in range(3):
        with again:
            port = again.port
            with tinkex.ServiceClient(config=config(again)):
                pass
            assert len(again.sessions) == 1
        assert again.port == port
    again.restart()
    assert threading.active_count() <= before
    assert isinstance(again.delay("asample", 1), Fault)
