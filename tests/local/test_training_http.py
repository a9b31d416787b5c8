"""Training over HTTP: it learns, in order, once for each number, whatever the format."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import requests

from tinkex.local import LocalServer
from tinkex.wire import messages_pb2 as pb

from .conftest import Api, datum

PAIRS = [
    ("The capital of France is", " Paris."),
    ("The capital of Spain is", " Madrid."),
    ("Water boils at", " 100 degrees."),
    ("Two and two make", " four."),
]
DATA = [datum(*pair) for pair in PAIRS]


def test_it_learns_and_answers(api: Api) -> None:
    model = api.model()
    before = api.sampler(model)
    losses = api.train(model, DATA, 40)
    answers = sum(len(answer) + 1 for _, answer in PAIRS)
    assert losses[0] / answers > 5
    assert losses[-1] / answers < 0.1
    after = api.sampler(model)
    for question, answer in PAIRS:
        sequence = api.sample(after, question)["sequences"][0]
        assert bytes(sequence["tokens"][:-1]).decode() == answer
        assert sequence["tokens"][-1] == 256
        assert sequence["stop_reason"] == "stop"
        assert api.sample(before, question)["sequences"][0]["tokens"] != sequence["tokens"]


def test_early_numbers_wait_for_those_before_them(api: Api) -> None:
    model = api.model()
    forward = {"data": DATA, "loss_fn": "cross_entropy"}
    third = api.post("forward_backward", model_id=model, seq_id=3, forward_backward_input=forward)
    second = api.post("optim_step", model_id=model, seq_id=2, adam_params={"learning_rate": 1e-2})
    answers: list[Any] = []
    poll = threading.Thread(target=lambda: answers.append(api.result(third)))
    poll.start()
    first = api.post("forward_backward", model_id=model, seq_id=1, forward_backward_input=forward)
    poll.join(20)
    api.result(second)
    assert answers[0]["metrics"]["loss:sum"] < api.result(first)["metrics"]["loss:sum"]


def test_a_repeated_number_is_the_same_future_and_a_refused_one_is_free(api: Api) -> None:
    model = api.model()
    body = {"model_id": model, "seq_id": 1, "adam_params": {"learning_rate": 1e-3}}
    refused = api.send("optim_step", **{**body, "adam_params": {"learning_rate": -1}})
    assert refused.status_code == 422
    first = api.post("optim_step", **body)
    assert api.post("optim_step", **body) == first
    assert api.result(first) == api.result(first)


def test_a_poll_is_held_and_says_try_again() -> None:
    with LocalServer(poll_timeout=0.05) as server:
        api = Api(server)
        early = api.post("optim_step", model_id=api.model(), seq_id=9)
        answer = api.send("retrieve_future", request_id=early["request_id"])
        assert answer.status_code == 408
        assert answer.json()["type"] == "try_again"
        assert answer.json()["queue_state"] == "active"


def _proto(model: str, seq_id: int, data: list[dict[str, Any]], forward_only: bool) -> bytes:
    message = pb.ForwardBackwardRequest(
        model_id=model, seq_id=seq_id, loss_fn="cross_entropy", forward_only=forward_only
    )
    for each in data:
        item = message.data.add()
        tokens = np.array(each["model_input"]["chunks"][0]["tokens"], "<i4")
        # Two chunks are one text.
        for part in (tokens[:3], tokens[3:]):
            item.model_input.add().encoded_text.tokens = part.tobytes()
        for name, dtype, kind in (
            ("target_tokens", "<i8", pb.DTYPE_INT64),
            ("weights", "<f4", pb.DTYPE_FLOAT32),
        ):
            values = np.array(each["loss_fn_inputs"][name]["data"], dtype)
            item.loss_fn_inputs[name].CopyFrom(
                pb.Tensor(dense=values.tobytes(), dtype=kind, shape=values.shape)
            )
    return message.SerializeToString()


def test_proto_and_json_agree(api: Api) -> None:
    model = api.model()
    sent = api.http.post(
        api.root + "forward_backward",
        data=_proto(model, 1, DATA, True),
        headers={"Content-Type": "application/x-protobuf"},
        timeout=30,
    ).json()
    as_json = api.result(sent)
    response = api.http.post(
        api.root + "retrieve_future",
        json={"request_id": sent["request_id"]},
        headers={"Accept": "application/x-protobuf, application/json"},
        timeout=30,
    )
    assert response.headers["Content-Type"].startswith("application/x-protobuf")
    message = pb.ForwardBackwardOutput.FromString(response.content)
    assert dict(message.metrics) == as_json["metrics"]
    record = message.loss_fn_outputs[0]
    assert record.num_datums == len(DATA)
    offsets = np.frombuffer(record.fields["logprobs"].offsets, "<i8")
    for i, output in enumerate(as_json["loss_fn_outputs"]):
        part = record.fields["logprobs"].data[offsets[i] : offsets[i + 1]]
        np.testing.assert_allclose(np.frombuffer(part, "<f4"), output["logprobs"]["data"], rtol=1e-6)
    by_json = api.run(
        "forward", model_id=model, seq_id=2, forward_input={"data": DATA, "loss_fn": "cross_entropy"}
    )
    assert by_json == as_json
    sampler = api.sampler(model)
    more = {
        "prompt_logprobs": True,
        "topk_prompt_logprobs": 2,
        "topk_sample_logprobs": 3,
        "prompt_alt_tokens_k": 2,
    }
    sample = api.post(
        "asample",
        sampling_session_id=sampler,
        prompt={"chunks": [{"type": "encoded_text", "tokens": [72, 105, 33]}]},
        sampling_params={"max_tokens": 4, "seed": 3},
        **more,
    )
    plain = api.result(sample)
    raw = api.http.post(
        api.root + "retrieve_future", json=sample, headers={"Accept": "application/x-protobuf"}, timeout=30
    )
    proto = pb.SampleResponse.FromString(raw.content)
    sequence = plain["sequences"][0]
    assert np.frombuffer(proto.sequences[0].tokens, "<i4").tolist() == sequence["tokens"]
    np.testing.assert_allclose(
        np.frombuffer(proto.sequences[0].logprobs, "<f4"), sequence["logprobs"], rtol=1e-6
    )
    scores = np.frombuffer(proto.prompt_logprobs, "<f4")
    assert np.isnan(scores[0])
    assert plain["prompt_logprobs"][0] is None
    np.testing.assert_allclose(scores[1:], plain["prompt_logprobs"][1:], rtol=1e-6)
    assert (proto.topk_prompt_logprobs.k, proto.topk_prompt_logprobs.length) == (2, 3)
    assert plain["topk_prompt_logprobs"][0] is None
    assert proto.sequences[0].topk_sampled_logprobs.k == 3
    assert (
        list(proto.prompt_alt_tokens.tokens.shape) == plain["prompt_alt_tokens"]["tokens"]["shape"] == [2, 2]
    )


def test_other_content_types_are_refused(api: Api) -> None:
    for path in ("forward_backward", "optim_step"):
        answer = requests.post(api.root + path, data=b"x", headers={"Content-Type": "text/plain"}, timeout=10)
        assert answer.status_code == 415
    garbage = requests.post(
        api.root + "forward_backward",
        data=b"\xff\xff",
        headers={"Content-Type": "application/x-protobuf"},
        timeout=10,
    )
    assert garbage.status_code == 400
