"""What is encoded in proto can be decoded."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tinkex import types
from tinkex.wire import messages_pb2 as pb
from tinkex.wire import proto_codec


def floats(values: Any) -> bytes:
    return np.asarray(values, dtype="<f4").tobytes()


def ints(values: Any, kind: str = "<i4") -> bytes:
    return np.asarray(values, dtype=kind).tobytes()


def test_the_same_work_gives_the_same_bytes() -> None:
    datum = types.Datum(types.ModelInput.from_ints([1]), {name: [1.0] for name in "zyxwvabc"})
    work = ("m", 1, [datum], "cross_entropy", None)
    assert len({proto_codec.encode_forward_backward(*work, forward_only=False) for _ in range(20)}) == 1


def test_sparse_tensors_travel_as_csr() -> None:
    tensor = types.TensorData([5, 7], "int64", [2, 3], [0, 1, 2], [2, 0])
    datum = types.Datum(types.ModelInput.from_ints([1]), {"target_tokens": tensor})
    body = proto_codec.encode_forward_backward("m", 1, [datum], "cross_entropy", None, forward_only=False)
    sent = pb.ForwardBackwardRequest.FromString(body).data[0].loss_fn_inputs["target_tokens"]
    assert sent.sparse_csr.values == ints([5, 7], "<i8")
    assert sent.sparse_csr.crow_indices == ints([0, 1, 2], "<i8")
    assert sent.sparse_csr.col_indices == ints([2, 0], "<i8")
    assert list(sent.shape) == [2, 3]


def test_empty_cells_of_a_top_k_matrix_are_left_out() -> None:
    message = pb.SampleResponse()
    message.topk_prompt_logprobs.CopyFrom(
        pb.TopkLogprobs(
            token_ids=ints([0, 0, 7, 8, 9, 0]),
            logprobs=floats([-99999, -99999, -0.5, -1.5, -0.25, -99999]),
            k=2,
            length=3,
        )
    )
    response = proto_codec.decode_sample(message.SerializeToString())
    assert response.topk_prompt_logprobs == [None, [(7, -0.5), (8, -1.5)], [(9, -0.25)]]
    matrices = response.topk_prompt_logprobs_np
    assert matrices is not None
    assert matrices.token_ids.tolist() == [[0, 0], [7, 8], [9, 0]]


@given(st.lists(st.lists(st.floats(width=32, allow_nan=False), max_size=5), min_size=1, max_size=6))
def test_outputs_of_several_datums_are_cut_apart(rows: list[list[float]]) -> None:
    message = pb.ForwardBackwardOutput(loss_fn_output_type="ArrayRecord", metrics={"loss:sum": 2.0})
    half = len(rows) // 2
    for part in (rows[:half], rows[half:]):
        record = message.loss_fn_outputs.add(num_datums=len(part))
        offsets = np.cumsum([0] + [4 * len(row) for row in part])
        record.fields["logprobs"].data = b"".join(floats(row) for row in part)
        record.fields["logprobs"].offsets = ints(offsets, "<i8")
        record.fields["logprobs"].dtype = pb.DTYPE_FLOAT32
    output = proto_codec.decode_forward_backward(message.SerializeToString())
    assert [tensors["logprobs"].data for tensors in output.loss_fn_outputs] == rows
    assert output.metrics == {"loss:sum": 2.0}


@given(st.lists(st.integers(0, 2**16 - 1), min_size=1))
def test_bfloat16_is_read_exactly(halves: list[int]) -> None:
    upper = np.asarray(halves, dtype="<u2")
    expected = (upper.astype("<u4") << 16).view("<f4")
    message = pb.ForwardBackwardOutput()
    field = message.loss_fn_outputs.add(num_datums=1).fields["x"]
    field.data, field.offsets, field.dtype = (
        upper.tobytes(),
        ints([0, 2 * len(halves)], "<i8"),
        pb.DTYPE_BFLOAT16,
    )
    [tensors] = proto_codec.decode_forward_backward(message.SerializeToString()).loss_fn_outputs
    assert tensors["x"].to_numpy().tobytes() == expected.tobytes()


def test_int32_is_read_as_int64_with_its_trailing_shape() -> None:
    message = pb.ForwardBackwardOutput()
    field = message.loss_fn_outputs.add(num_datums=1).fields["x"]
    field.data, field.offsets, field.dtype = ints([1, -2, 3, 4]), ints([0, 16], "<i8"), pb.DTYPE_INT32
    field.trailing_shape.append(2)
    [tensors] = proto_codec.decode_forward_backward(message.SerializeToString()).loss_fn_outputs
    assert tensors["x"].tolist() == [[1, -2], [3, 4]]
