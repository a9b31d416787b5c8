"""A request that carries a number is carried out once; the number is refused to any other request."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from tinkex.local import LocalServer
from tinkex.local.work import promises
from tinkex.wire import messages_pb2 as pb

from .conftest import Api, datum, prompt

FORWARD: dict[str, Any] = {"data": [datum("abc", "def")], "loss_fn": "cross_entropy"}
OTHER_FORWARD: dict[str, Any] = {"data": [datum("abc", "deg")], "loss_fn": "cross_entropy"}


def refused(answer: requests.Response, number: str) -> None:
    """It is refused for good, and says which number is meant."""
    assert (answer.status_code, answer.headers["X-Should-Retry"]) == (409, "false")
    assert number in answer.json()["detail"]


def as_proto(model: str, seq_id: int, data: list[dict[str, Any]], *, forward_only: bool) -> bytes:
    message = pb.ForwardBackwardRequest(
        model_id=model, seq_id=seq_id, loss_fn="cross_entropy", forward_only=forward_only
    )
    for each in data:
        item = message.data.add()
        tokens = np.array(each["model_input"]["chunks"][0]["tokens"], "<i4")
        item.model_input.add().encoded_text.tokens = tokens.tobytes()
        for name, dtype, kind in (
            ("target_tokens", "<i8", pb.DTYPE_INT64),
            ("weights", "<f4", pb.DTYPE_FLOAT32),
        ):
            values = np.array(each["loss_fn_inputs"][name]["data"], dtype)
            tensor = pb.Tensor(dense=values.tobytes(), dtype=kind, shape=values.shape)
            item.loss_fn_inputs[name].CopyFrom(tensor)
    return message.SerializeToString()


def send_proto(api: Api, body: bytes) -> requests.Response:
    headers = {"Content-Type": "application/x-protobuf"}
    return api.http.post(api.root + "forward_backward", data=body, headers=headers, timeout=9)


def test_a_training_number_stands_for_one_request(api: Api) -> None:
    model = api.model()
    first = api.post("forward_backward", model_id=model, seq_id=1, forward_backward_input=FORWARD)
    assert api.post("forward_backward", model_id=model, seq_id=1, forward_backward_input=FORWARD) == first
    others: list[tuple[str, dict[str, Any]]] = [
        ("forward_backward", {"forward_backward_input": OTHER_FORWARD}),
        ("forward", {"forward_input": FORWARD}),
        ("optim_step", {"adam_params": {"learning_rate": 1e-3}}),
        ("save_weights", {"path": "a"}),
        ("save_weights_for_sampler", {"path": "a"}),
        ("save_weights_external", {"path": "a"}),
    ]
    for endpoint, body in others:
        refused(api.send(endpoint, model_id=model, seq_id=1, **body), "seq_id: 1")
    step = api.post("optim_step", model_id=model, seq_id=2, adam_params={"learning_rate": 1e-3})
    refused(
        api.send("optim_step", model_id=model, seq_id=2, adam_params={"learning_rate": 1e-2}), "seq_id: 2"
    )
    saved = api.post("save_weights", model_id=model, seq_id=3, path="a")
    refused(api.send("save_weights", model_id=model, seq_id=3, path="b"), "seq_id: 3")
    path = api.result(saved)["path"]
    loaded = api.post("load_weights", model_id=model, seq_id=4, path=path)
    refused(api.send("load_weights", model_id=model, seq_id=4, path=path, optimizer=True), "seq_id: 4")
    # What was refused had no effect: the step is in the weights once.
    assert api.result(step)["type"] == "optim_step"
    assert api.result(loaded)["type"] == "load_weights"
    assert len(api.get(f"training_runs/{model}/checkpoints")["checkpoints"]) == 1


def test_proto_and_json_of_one_request_are_the_same(api: Api) -> None:
    model = api.model()
    in_json = api.post("forward_backward", model_id=model, seq_id=1, forward_backward_input=FORWARD)
    body = as_proto(model, 1, FORWARD["data"], forward_only=False)
    assert send_proto(api, body).json() == in_json
    refused(send_proto(api, as_proto(model, 1, FORWARD["data"], forward_only=True)), "seq_id: 1")
    refused(send_proto(api, as_proto(model, 1, OTHER_FORWARD["data"], forward_only=False)), "seq_id: 1")
    body = as_proto(model, 2, FORWARD["data"], forward_only=True)
    in_proto = send_proto(api, body).json()
    assert api.post("forward", model_id=model, seq_id=2, forward_input=FORWARD) == in_proto


def test_a_refused_request_uses_no_number(api: Api) -> None:
    model = api.model()
    body = as_proto(model, 1, FORWARD["data"], forward_only=False)
    headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "zstd"}
    compressed = api.http.post(api.root + "forward_backward", data=body, headers=headers, timeout=9)
    assert compressed.status_code == 415
    wrong = {**FORWARD, "loss_fn": "mse"}
    assert (
        api.send("forward_backward", model_id=model, seq_id=1, forward_backward_input=wrong).status_code
        == 400
    )
    api.run("optim_step", model_id=model, seq_id=1)


def test_a_models_number_stands_for_one_request(api: Api) -> None:
    path = api.run("save_weights", model_id=api.model(), path="a")["path"]
    slot = {"session_id": api.sid, "model_seq_id": 300}
    first = api.post("load_weights", **slot, path=path)
    assert api.post("load_weights", **slot, path=path) == first
    refused(api.send("load_weights", **slot, path=path, optimizer=True), "model_seq_id 300")
    refused(api.send("create_model", **slot, base_model="tinkex/byte-lm"), "model_seq_id 300")
    refused(api.send("copy_weights", **slot, source_path=path), "model_seq_id 300")
    other = api.post("create_session")["session_id"]
    api.run("load_weights", session_id=other, model_seq_id=300, path=path)


def test_a_sampling_sessions_number_stands_for_one_request(api: Api) -> None:
    model = api.model()
    slot = {"session_id": api.sid, "sampling_session_seq_id": 300}
    first = api.post("create_sampling_session", **slot, base_model="tinkex/byte-lm")
    assert api.post("create_sampling_session", **slot, base_model="tinkex/byte-lm") == first
    path = api.run("save_weights_for_sampler", model_id=model, path="a")["path"]
    refused(api.send("create_sampling_session", **slot, model_path=path), "sampling_session_seq_id 300")
    body = {"model_id": model, "sampling_session_seq_id": 300}
    refused(api.send("save_weights_for_sampler", **body), "sampling_session_seq_id 300")
    body = {"model_id": model, "sampling_session_seq_id": 301}
    sampler = api.post("save_weights_for_sampler", **body)
    assert api.post("save_weights_for_sampler", **body) == sampler
    refused(api.send("save_weights_for_sampler", **body, seq_id=9), "sampling_session_seq_id 301")


def test_a_samples_number_stands_for_one_request(api: Api) -> None:
    sampler = api.sampler(api.model())
    body = {"sampling_session_id": sampler, "seq_id": 0, "sampling_params": {"max_tokens": 1}}
    first = api.post("asample", **body, prompt=prompt("a"))
    assert api.post("asample", **body, prompt=prompt("a")) == first
    refused(api.send("asample", **body, prompt=prompt("b")), "seq_id 0")
    refused(api.send("asample", **body, prompt=prompt("a"), prompt_logprobs=True), "seq_id 0")
    hotter = {**body, "sampling_params": {"max_tokens": 1, "temperature": 2}}
    refused(api.send("asample", **hotter, prompt=prompt("a")), "seq_id 0")


def test_one_request_sent_by_many_threads_makes_one_model(api: Api, server: LocalServer) -> None:
    path = api.run("save_weights", model_id=api.model(), path="a")["path"]
    body = {"session_id": api.sid, "model_seq_id": 301, "path": path}
    answers = []
    ready = threading.Barrier(8)

    def load() -> None:
        ready.wait(10)
        answers.append(requests.post(api.root + "load_weights", json=body, timeout=20).json())

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert answers == [answers[0]] * 8
    runs = api.get(f"sessions/{api.sid}")["training_run_ids"]
    assert runs.count(f"{api.sid}:train:301") == 1


def test_a_load_that_failed_may_be_sent_again(tmp_path: Path) -> None:
    with LocalServer(tmp_path) as server:
        api = Api(server)
        path = api.run("save_weights", model_id=api.model(), path="a")["path"]
        body = {"session_id": api.sid, "model_seq_id": 5, "path": path}
        held = tmp_path / "held"
        (saved,) = tmp_path.glob("*/weights/a")
        saved.rename(held)
        assert api.send("load_weights", **body).status_code == 404
        held.rename(saved)
        api.run("load_weights", **body)
        api.http.close()


def test_a_number_whose_result_is_forgotten_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promises, "_MAX_FINISHED", 3)
    with LocalServer() as server:
        api = Api(server)
        model = api.model()
        body = {"model_id": model, "seq_id": 1, "adam_params": {"learning_rate": 1e-3}}
        first = api.post("optim_step", **body)
        for n in range(2, 7):
            api.run("optim_step", model_id=model, seq_id=n)
        assert api.send("retrieve_future", request_id=first["request_id"]).status_code == 410
        again = api.send("optim_step", **body)
        assert again.status_code == 410
        assert "no longer kept" in again.json()["detail"]
        api.http.close()
