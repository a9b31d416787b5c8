"""What is encoded in JSON says the same as in proto."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinkex
from tinkex import types
from tinkex.wire import json_codec, proto_codec
from tinkex.wire import messages_pb2 as pb

TOKENS = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=20)


FLOATS = st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=20)
SEQUENCES = st.lists(
    st.tuples(st.integers(0, 2**31 - 1), st.floats(width=32, allow_nan=False)), min_size=1, max_size=20
).map(lambda pairs: ([token for token, _ in pairs], [logprob for _, logprob in pairs]))


def floats(values: Any) -> bytes:
    return np.asarray(values, dtype="<f4").tobytes()


def ints(values: Any, kind: str = "<i4") -> bytes:
    return np.asarray(values, dtype=kind).tobytes()


@given(TOKENS, TOKENS, FLOATS, st.integers(1, 2**31 - 1), st.booleans())
def test_a_training_body_says_the_same_in_both_formats(
    tokens: list[int], targets: list[int], weights: list[float], seq_id: int, forward_only: bool
) -> None:
    chunks: list[types.ModelInputChunk] = [
        types.EncodedTextChunk(tokens),
        types.ImageChunk(b"\x89png", "png", 3),
    ]
    datum = types.Datum(types.ModelInput(chunks), {"target_tokens": targets, "weights": weights})
    settings: dict[str, float | str] = {"clip_low_threshold": 0.5, "mode": "x"}
    work = ("m", seq_id, [datum], "ppo", settings)

    message = pb.ForwardBackwardRequest.FromString(
        proto_codec.encode_forward_backward(*work, forward_only=forward_only)
    )
    body = json.loads(json.dumps(json_codec.encode_forward_backward(*work, forward_only=forward_only)))

    assert (message.model_id, message.seq_id, message.forward_only) == ("m", seq_id, forward_only)
    assert (body["model_id"], body["seq_id"]) == ("m", seq_id)
    work_json = body["forward_input" if forward_only else "forward_backward_input"]
    assert message.loss_fn == work_json["loss_fn"] == "ppo"
    assert dict(message.loss_fn_config) == {"clip_low_threshold": 0.5}
    assert message.loss_fn_config_v2["mode"].text == work_json["loss_fn_config"]["mode"] == "x"

    [sent], [sent_json] = message.data, work_json["data"]
    text, image = sent.model_input
    assert text.encoded_text.tokens == ints(tokens)
    assert (image.image.data, image.image.format, image.image.expected_tokens) == (b"\x89png", "png", 3)
    assert sent_json["model_input"]["chunks"][0] == {"type": "encoded_text", "tokens": tokens}
    assert sent.loss_fn_inputs["target_tokens"].dense == ints(targets, "<i8")
    assert sent.loss_fn_inputs["weights"].dense == floats(weights)
    assert sent_json["loss_fn_inputs"]["target_tokens"] == {
        "data": targets,
        "dtype": "int64",
        "shape": [len(targets)],
    }
    assert sent_json["loss_fn_inputs"]["weights"]["data"] == weights


@given(st.lists(SEQUENCES, min_size=1, max_size=3), st.booleans())
def test_a_sample_reads_the_same_from_both_formats(
    sequences: list[tuple[list[int], list[float]]], stopped: bool
) -> None:
    message = pb.SampleResponse(prompt_logprobs=floats([float("nan"), -0.5]), prompt_cache_hit_tokens=4)
    listed = []
    for tokens, logprobs in sequences:
        message.sequences.add(
            stop_reason=pb.STOP_REASON_STOP if stopped else pb.STOP_REASON_LENGTH,
            tokens=ints(tokens),
            logprobs=floats(logprobs),
        )
        listed.append(
            {"tokens": tokens, "logprobs": logprobs, "stop_reason": "stop" if stopped else "length"}
        )
    answer = {
        "type": "sample",
        "sequences": listed,
        "prompt_logprobs": [None, -0.5],
        "prompt_cache_hit_tokens": 4,
        "unknown_field": 1,
    }
    from_proto = proto_codec.decode_sample(message.SerializeToString())
    assert from_proto == json_codec.decode_sample(json.loads(json.dumps(answer)))
    assert from_proto.sequences[0].tokens == sequences[0][0]
    assert from_proto.prompt_logprobs == [None, -0.5]


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff", b"{}"])
def test_garbage_is_a_clear_error(garbage: bytes) -> None:
    with pytest.raises(tinkex.APIResponseValidationError):
        proto_codec.decode_sample(garbage)
    with pytest.raises(tinkex.APIResponseValidationError):
        json_codec.decode_sample({"sequences": [{}]})
