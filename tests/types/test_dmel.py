"""Audio chunks: how long they are, and how they travel."""

from __future__ import annotations

import base64

import pytest
from clients import config
from hypothesis import given
from hypothesis import strategies as st

import tinkex
from tinkex import types
from tinkex.testing import TinkerServer
from tinkex.wire import json_codec, proto_codec
from tinkex.wire import messages_pb2 as pb

# dtype 3, two dimensions: 300 (0xAC 0x02 as a varint) by 80.
AUDIO = bytes([3, 2, 0xAC, 0x02, 80]) + b"payload"


def varint(value: int) -> bytes:
    groups = [value >> shift & 0x7F for shift in range(0, max(1, value.bit_length()), 7)]
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


@given(
    st.booleans(), st.integers(0, 7), st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4), st.binary()
)
def test_the_length_is_the_first_dimension(
    constant: bool, dtype: int, shape: list[int], payload: bytes
) -> None:
    header = bytes([254] * constant + [dtype]) + varint(len(shape)) + b"".join(map(varint, shape))
    assert types.DmelChunk(header + payload).length == shape[0]


@pytest.mark.parametrize(
    "container",
    [
        b"\x08\x01\x01",
        b"\xff\x01\x01",
        b"\x00",
        b"\xfe",
        b"\x00\x01",
        b"\x00\x01\x80",
        b"\x00\x01" + b"\xff" * 11,
    ],
    ids=["dtype 8", "dtype 255", "no rank", "only a marker", "no dimension", "cut off", "endless"],
)
def test_what_is_no_container_has_no_length(container: bytes) -> None:
    with pytest.raises(tinkex.InputError, match="dmel is no TensorContainer"):
        _ = types.DmelChunk(container).length


def test_a_single_number_has_no_length() -> None:
    with pytest.raises(tinkex.InputError, match="no length"):
        _ = types.DmelChunk(b"\x00\x00").length


@pytest.mark.parametrize("bad", [b"", "", None, [1, 2], "not base64!", "é"])
def test_what_is_not_bytes_is_refused(bad: object) -> None:
    with pytest.raises(tinkex.InputError, match="dmel"):
        types.DmelChunk(bad)  # type: ignore[arg-type]


@given(st.binary(min_size=1))
def test_it_travels_as_it_is_in_both_formats(content: bytes) -> None:
    chunk = types.DmelChunk(content)
    assert types.DmelChunk(base64.b64encode(content).decode()) == chunk  # type: ignore[arg-type]
    datum = types.Datum(types.ModelInput([chunk]), {"weights": [1.0]})
    assert datum.nbytes == len(content) + 4
    work = ("m", 1, [datum], "cross_entropy", None)
    [sent] = pb.ForwardBackwardRequest.FromString(
        proto_codec.encode_forward_backward(*work, forward_only=False)
    ).data
    assert sent.model_input[0].dmel.dmel == content
    [sent_json] = json_codec.encode_forward_backward(*work, forward_only=False)["forward_backward_input"][
        "data"
    ][0]["model_input"]["chunks"]
    assert sent_json["type"] == "dmel"
    assert base64.b64decode(sent_json["dmel"]) == content


def test_a_prompt_may_hold_text_and_audio(server: TinkerServer) -> None:
    prompt = types.ModelInput.from_ints([1, 2]).append(types.DmelChunk(AUDIO))
    assert prompt.length == 302
    with pytest.raises(tinkex.InputError, match="audio"):
        prompt.to_ints()
    with tinkex.ServiceClient(config=config(server)) as service:
        sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
        server.on("/asample", {"request_id": "heard"})  # the embedded model reads text only
        server.on("/retrieve_future", {"sequences": [{"tokens": [7], "stop_reason": "length"}]})
        sampler.sample(prompt, 1, types.SamplingParams(max_tokens=1)).result(60)
    assert server.requests.to("/asample")[0].json()["prompt"]["chunks"] == [
        {"type": "encoded_text", "tokens": [1, 2]},
        {"type": "dmel", "dmel": base64.b64encode(AUDIO).decode()},
    ]
