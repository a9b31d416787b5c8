"""Damaged results: a decoder returns a value that can be used, or raises ``APIResponseValidationError``.

Nothing else may happen, whatever the bytes, and memory stays in proportion to them.
"""

from __future__ import annotations

import json
import math
import time
import tracemalloc
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from json_values import ODD, VALUES, damaged

import tinkex
from tinkex import types
from tinkex.types.sampling import TopkRows
from tinkex.wire import json_codec, proto_codec
from tinkex.wire import messages_pb2 as pb

F, Q, I = "<f4", "<i8", "<i4"  # noqa: E741


def packed(values: Any, kind: str) -> bytes:
    return np.asarray(values, dtype=kind).tobytes()


def sample_message() -> pb.SampleResponse:
    message = pb.SampleResponse(prompt_logprobs=packed([math.nan, -0.5], F), prompt_cache_hit_tokens=4)
    message.sequences.add(
        stop_reason=pb.STOP_REASON_LENGTH, tokens=packed([1, 2, 3], I), logprobs=packed([-1, -2, -3], F)
    )
    sequence = message.sequences.add(tokens=packed([5], I))
    top = pb.TopkLogprobs(token_ids=packed([7, 8], I), logprobs=packed([-0.5, -1], F), k=2, length=1)
    sequence.topk_sampled_logprobs.CopyFrom(top)
    message.topk_prompt_logprobs.CopyFrom(top)
    message.target_prompt_logprobs.dense = packed([0, -1], F)
    message.target_prompt_logprobs.shape.extend([2, 1])
    message.target_prompt_logprobs.dtype = pb.DTYPE_FLOAT32
    csr = message.prompt_alt_tokens.tokens
    csr.sparse_csr.values, csr.sparse_csr.crow_indices = packed([5, 7], I), packed([0, 1, 2], Q)
    csr.sparse_csr.col_indices = packed([2, 0], Q)
    csr.dtype = pb.DTYPE_INT32
    csr.shape.extend([2, 3])
    message.prompt_alt_tokens.logprobs.dense = packed([1], F)
    return message


def training_message(datums: int = 3, tokens: int = 4) -> pb.ForwardBackwardOutput:
    message = pb.ForwardBackwardOutput(loss_fn_output_type="x", metrics={"loss:sum": 1.5})
    record = message.loss_fn_outputs.add(num_datums=datums)
    for name, dtype, width in (("logprobs", pb.DTYPE_FLOAT32, 4), ("half", pb.DTYPE_BFLOAT16, 2)):
        field = record.fields[name]
        field.data, field.dtype = bytes(datums * tokens * width), dtype
        field.offsets = packed(np.arange(datums + 1) * tokens * width, Q)
    record.fields["half"].trailing_shape.append(2)
    return message


SAMPLE, TRAINING = sample_message().SerializeToString(), training_message().SerializeToString()
SAMPLE_JSON = {
    "sequences": [
        {"tokens": [1, 2], "logprobs": [-1.0, -2], "stop_reason": "length", "topk_logprobs": [None, [[7, -0.5]]]},
        {"tokens": [], "logprobs": None},
    ],
    "prompt_logprobs": [None, -0.5, -1],
    "topk_prompt_logprobs": [None, [[1, -0.5], [2, -1.5]]],
    "target_prompt_logprobs": {"data": [0.0, 1.5], "dtype": "float32", "shape": [2, 1]},
    "prompt_alt_tokens": {
        "tokens": {"data": [5, 7], "dtype": "int64", "shape": [2, 3], "sparse_crow_indices": [0, 1, 2],
                   "sparse_col_indices": [2, 0]},
        "logprobs": {"data": [1]},
    },
    "prompt_cache_hit_tokens": 3,
}  # fmt: skip
TRAINING_JSON = {
    "loss_fn_output_type": "x",
    "loss_fn_outputs": [{"logprobs": {"data": [-1.0, -2.0], "dtype": "float32", "shape": [2]}}] * 2,
    "metrics": {"loss:sum": 1.5, "n": 3, "bad": math.nan},
}


@st.composite
def mutated(draw: st.DrawFn, content: bytes) -> bytes:
    """``content`` with up to five bytes or pieces changed, cut out, repeated or put in."""
    mutant = bytearray(content)
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(mutant)))
        end = min(len(mutant), at + draw(st.sampled_from([0, 1, 1, 2, 4, 8, 40])))
        new = draw(st.binary(max_size=10) | st.just(bytes(mutant[at:end]) * 2))
        mutant[at:end] = new
    return bytes(mutant)


def attempt(decode: Callable[[Any], Any], content: Any) -> Any:
    """The value, or None for an error of the one kind that is allowed, with nothing chained to it."""
    try:
        return decode(content)
    except tinkex.APIResponseValidationError as error:
        refusal = error
    assert refusal.__cause__ is None
    assert refusal.__context__ is None
    return None


def use_tensor(tensor: types.TensorData | None) -> None:
    if tensor is None:
        return
    assert tensor.dtype in ("float32", "int64")
    assert all(size >= 0 for size in tensor.shape)
    assert len(tensor.data) * (4 if tensor.dtype == "float32" else 8) == len(tensor.packed)
    if tensor.sparse_crow_indices is None:
        assert math.prod(tensor.shape) == len(tensor.data)
    if math.prod(tensor.shape) < 10_000:
        assert list(tensor.to_numpy().shape) == tensor.shape
        tensor.tolist()


def use_rows(rows: TopkRows | None) -> None:
    for row in rows or ():
        for token, logprob in row or ():
            assert type(token) is int
            assert 0 <= token < 2**31
            assert type(logprob) is float
            assert logprob == logprob


def use_sample(response: types.SampleResponse | None) -> None:
    if response is None:
        return
    for sequence in response.sequences:
        assert sequence.stop_reason in ("stop", "length")
        assert all(type(token) is int and 0 <= token < 2**31 for token in sequence.tokens)
        assert sequence.tokens_np.dtype == np.int32
        if sequence.logprobs is not None:
            assert len(sequence.logprobs) == len(sequence.tokens)
            assert all(type(logprob) is float and logprob == logprob for logprob in sequence.logprobs)
        use_rows(sequence.topk_logprobs)
    for logprob in response.prompt_logprobs or ():
        assert logprob is None or (type(logprob) is float and logprob == logprob)
    use_rows(response.topk_prompt_logprobs)
    use_tensor(response.target_prompt_logprobs)
    if response.prompt_alt_tokens is not None:
        use_tensor(response.prompt_alt_tokens.tokens)
        use_tensor(response.prompt_alt_tokens.logprobs)


def use_training(output: types.ForwardBackwardOutput | None) -> None:
    if output is None:
        return
    assert isinstance(output.loss_fn_output_type, str)
    for outputs in output.loss_fn_outputs:
        for name, tensor in outputs.items():
            assert isinstance(name, str)
            use_tensor(tensor)
    for value in output.metrics.values():
        assert type(value) in (int, float)
        float(value)


def test_what_is_not_damaged_is_read() -> None:
    use_sample(proto_codec.decode_sample(SAMPLE))
    use_training(proto_codec.decode_forward_backward(TRAINING))
    use_sample(json_codec.decode_sample(SAMPLE_JSON))
    use_training(json_codec.decode_forward_backward(TRAINING_JSON))


@settings(max_examples=200, deadline=None)
@given(mutated(SAMPLE))
def test_a_damaged_sample(content: bytes) -> None:
    use_sample(attempt(proto_codec.decode_sample, content))


@settings(max_examples=200, deadline=None)
@given(mutated(TRAINING))
def test_a_damaged_training_result(content: bytes) -> None:
    use_training(attempt(proto_codec.decode_forward_backward, content))


def mutations(content: bytes, count: int) -> Iterator[bytes]:
    """Many more, all the same in every run."""
    random = Random(7)
    for _ in range(count):
        mutant = bytearray(content)
        for _ in range(random.randint(1, 6)):
            at = random.randrange(len(mutant) + 1)
            mutant[at : at + random.choice((0, 1, 1, 1, 2, 8))] = random.randbytes(
                random.choice((0, 1, 1, 1, 4))
            )
        yield bytes(mutant)


def test_thousands_of_mutations() -> None:
    samples = [attempt(proto_codec.decode_sample, content) for content in mutations(SAMPLE, 4000)]
    outputs = [attempt(proto_codec.decode_forward_backward, content) for content in mutations(TRAINING, 4000)]
    for sample, output in zip(samples, outputs):
        use_sample(sample)
        use_training(output)
    assert 100 < samples.count(None) < 3900
    assert 100 < outputs.count(None) < 3900


@settings(max_examples=150, deadline=None)
@given(damaged(SAMPLE_JSON) | VALUES)
@example([])
@example({"sequences": 7})
def test_a_damaged_sample_in_json(answer: Any) -> None:
    use_sample(attempt(json_codec.decode_sample, answer))


@settings(max_examples=150, deadline=None)
@given(damaged(TRAINING_JSON) | VALUES)
def test_a_damaged_training_result_in_json(answer: Any) -> None:
    use_training(attempt(json_codec.decode_forward_backward, answer))


NUMBERS = st.sampled_from([-(2**63), -8, -1, 0, 1, 3, 4, 7, 8, 16, 2**31, 2**62, 2**63 - 1])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(NUMBERS, max_size=5),
    st.binary(max_size=32),
    NUMBERS,
    st.lists(NUMBERS, max_size=3),
    st.integers(0, 6),
)
def test_fields_that_do_not_fit_together(
    offsets: list[int], data: bytes, count: int, trailing: list[int], dtype: int
) -> None:
    message = pb.ForwardBackwardOutput()
    record = message.loss_fn_outputs.add(num_datums=count)
    field = record.fields["x"]
    field.data, field.offsets, field.dtype = data, packed(offsets, Q), dtype  # type: ignore[assignment]
    field.trailing_shape.extend(trailing)
    use_training(attempt(proto_codec.decode_forward_backward, message.SerializeToString()))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(NUMBERS, max_size=3),
    st.binary(max_size=16),
    st.binary(max_size=24),
    st.booleans(),
    st.integers(0, 6),
)
def test_tensors_that_do_not_fit_together(
    shape: list[int], data: bytes, indices: bytes, sparse: bool, dtype: int
) -> None:
    message = pb.SampleResponse()
    tensor = message.target_prompt_logprobs
    if sparse:
        tensor.sparse_csr.values = data
        tensor.sparse_csr.crow_indices = tensor.sparse_csr.col_indices = indices
    else:
        tensor.dense = data
    tensor.dtype = dtype  # type: ignore[assignment]
    tensor.shape.extend(shape)
    use_sample(attempt(proto_codec.decode_sample, message.SerializeToString()))


def bare_datums(*counts: int) -> bytes:
    message = pb.ForwardBackwardOutput()
    for count in counts:
        message.loss_fn_outputs.add(num_datums=count)
    return message.SerializeToString()


def empty_tensor(*shape: int) -> bytes:
    message = pb.SampleResponse()
    message.target_prompt_logprobs.shape.extend(shape)
    return message.SerializeToString()


def top_k(k: int, length: int) -> bytes:
    message = pb.SampleResponse()
    message.topk_prompt_logprobs.k, message.topk_prompt_logprobs.length = k, length
    return message.SerializeToString()


def many_dimensions() -> bytes:
    message = pb.SampleResponse()
    message.target_prompt_logprobs.shape.extend([2**62] * 100_000)
    return message.SerializeToString()


@pytest.mark.parametrize(
    ("decode", "content"),
    [
        (proto_codec.decode_forward_backward, bare_datums(2**62)),
        (proto_codec.decode_forward_backward, bare_datums(-1)),
        (proto_codec.decode_forward_backward, bare_datums(*[60_000] * 1000)),
        (proto_codec.decode_sample, top_k(0, 2**32 - 1)),
        (proto_codec.decode_sample, top_k(2**32 - 1, 2**32 - 1)),
        (proto_codec.decode_sample, many_dimensions()),
        (proto_codec.decode_sample, empty_tensor(2**30, 0)),
        (proto_codec.decode_sample, empty_tensor(0, 2**62)),
    ],
)
def test_sizes_are_not_believed(decode: Callable[[bytes], object], content: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(tinkex.APIResponseValidationError):
            decode(content)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_datums_without_outputs_are_counted() -> None:
    assert proto_codec.decode_forward_backward(bare_datums(2, 0, 3)).loss_fn_outputs == [{}] * 5


def test_a_result_takes_time_in_proportion_to_its_datums() -> None:
    def seconds(datums: int) -> float:
        content = training_message(datums, 128).SerializeToString()
        took = []
        for _ in range(5):
            began = time.thread_time()
            proto_codec.decode_forward_backward(content)
            took.append(time.thread_time() - began)
        return min(took) / datums

    # Copying all of the data for each datum would make the second 20 times as large.
    assert seconds(4096) < 5 * seconds(64)


@pytest.mark.parametrize("value", [value for value in ODD if type(value) is not float or value != value])
def test_no_logprob_is(value: Any) -> None:
    for name in ("logprobs", "tokens"):
        if (value == 0 and type(value) is int) or (
            name == "logprobs" and type(value) is int and abs(value) < 10**300
        ):
            continue
        sequence = {"tokens": [1], "logprobs": [-0.5], name: [value]}
        with pytest.raises(tinkex.APIResponseValidationError):
            json_codec.decode_sample({"sequences": [sequence]})


@pytest.mark.parametrize("logprobs", [[math.nan], [math.inf, -math.inf, math.nan]])
def test_a_logprob_is_not_nan(logprobs: list[float]) -> None:
    message = pb.SampleResponse()
    message.sequences.add(tokens=packed([1] * len(logprobs), I), logprobs=packed(logprobs, F))
    with pytest.raises(tinkex.APIResponseValidationError, match="NaN"):
        proto_codec.decode_sample(message.SerializeToString())
    answer = {"sequences": [{"tokens": [1] * len(logprobs), "logprobs": logprobs}]}
    with pytest.raises(tinkex.APIResponseValidationError, match="NaN"):
        json_codec.decode_sample(json.loads(json.dumps(answer)))


def test_infinite_logprobs_and_bad_metrics_are_kept() -> None:
    answer = {"sequences": [{"tokens": [1, 2], "logprobs": [-math.inf, math.inf]}]}
    assert json_codec.decode_sample(answer).sequences[0].logprobs == [-math.inf, math.inf]
    metrics = json_codec.decode_forward_backward(
        {"loss_fn_outputs": [], "metrics": {"loss:sum": math.inf, "grad:max": math.nan}}
    ).metrics
    assert metrics["loss:sum"] == math.inf
    assert math.isnan(metrics["grad:max"])


@pytest.mark.parametrize(("tokens", "logprobs"), [(3, 2), (2, 3), (0, 1)])
def test_a_sequence_has_a_logprob_for_each_token_or_none_at_all(tokens: int, logprobs: int) -> None:
    sequence = {"tokens": [1] * tokens, "logprobs": [-0.5] * logprobs}
    with pytest.raises(tinkex.APIResponseValidationError, match=f"{logprobs} logprobs for {tokens} tokens"):
        json_codec.decode_sample({"sequences": [sequence]})
    message = pb.SampleResponse()
    message.sequences.add(tokens=packed([1] * tokens, I), logprobs=packed([-0.5] * logprobs, F))
    with pytest.raises(tinkex.APIResponseValidationError, match=f"{logprobs} logprobs for {tokens} tokens"):
        proto_codec.decode_sample(message.SerializeToString())


def test_a_server_that_computed_no_logprobs_may_send_an_empty_list_of_them() -> None:
    assert (
        json_codec.decode_sample({"sequences": [{"tokens": [1], "logprobs": []}]}).sequences[0].logprobs
        is None
    )
    message = pb.SampleResponse()
    message.sequences.add(tokens=packed([1], I), logprobs=b"")
    assert proto_codec.decode_sample(message.SerializeToString()).sequences[0].logprobs is None
