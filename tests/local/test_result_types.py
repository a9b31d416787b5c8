"""Results say which kind of request they answer, and are not given to who asks for another kind."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Api, datum, prompt

FORWARD = {"data": [datum("abc", "def")], "loss_fn": "cross_entropy"}


def submitted(api: Api) -> dict[str, dict[str, Any]]:
    """One request of every kind, by the name that clients call the kind."""
    model = api.model()
    saved = api.run("save_weights", model_id=model, path="before")["path"]
    sampler = {"session_id": api.sid, "sampling_session_seq_id": 700, "base_model": "tinkex/byte-lm"}
    sampling = api.post("create_sampling_session", **sampler)["sampling_session_id"]
    params = {"max_tokens": 1}
    slot = {"session_id": api.sid, "model_seq_id": 700, "base_model": "tinkex/byte-lm"}
    return {
        "CreateModel": api.post("create_model", **slot),
        "ForwardBackward": api.post("forward_backward", model_id=model, forward_backward_input=FORWARD),
        "Forward": api.post("forward", model_id=model, forward_input=FORWARD),
        "OptimStep": api.post("optim_step", model_id=model),
        "SaveWeights": api.post("save_weights", model_id=model, path="a"),
        "SaveWeightsForSampler": api.post("save_weights_for_sampler", model_id=model, path="a"),
        "SaveWeightsExternal": api.post("save_weights_external", model_id=model, path="a"),
        "LoadWeights": api.post("load_weights", model_id=model, path=saved),
        "Sample": api.post(
            "asample", sampling_session_id=sampling, prompt=prompt("a"), sampling_params=params
        ),
        "UnloadModel": api.post("unload_model", model_id=api.model()),
    }


TYPES = {
    "CreateModel": "create_model",
    "ForwardBackward": "forward_backward",
    "Forward": "forward",
    "OptimStep": "optim_step",
    "SaveWeights": "save_weights",
    "SaveWeightsForSampler": "save_weights_for_sampler",
    "SaveWeightsExternal": "save_weights_external",
    "LoadWeights": "load_weights",
    "Sample": "sample",
    "UnloadModel": "unload_model",
}


def test_every_json_result_has_the_type_of_its_request(api: Api) -> None:
    for kind, promise in submitted(api).items():
        assert api.result(promise)["type"] == TYPES[kind]


def test_weights_that_make_a_model_are_of_type_load_weights(api: Api) -> None:
    path = api.run("save_weights", model_id=api.model(), path="a")["path"]
    slot = {"session_id": api.sid, "model_seq_id": 701}
    assert api.run("load_weights", **slot, path=path)["type"] == "load_weights"


@pytest.mark.parametrize("accept", ["application/json", "application/x-protobuf, application/json"])
def test_a_result_is_not_given_as_one_of_another_kind(api: Api, accept: str) -> None:
    promises = submitted(api)
    for kind, promise in promises.items():
        body = {"request_id": promise["request_id"]}
        for asked in promises:
            headers = {"X-Tinker-Request-Type": asked, "Accept": accept}
            answer = api.http.post(api.root + "retrieve_future", json=body, headers=headers, timeout=30)
            assert (asked, answer.status_code) == (asked, 200 if asked == kind else 409)
            if asked != kind:
                assert TYPES[kind] in answer.json()["detail"]
                assert answer.headers["X-Should-Retry"] == "false"
