"""Training requests and results as protocol buffers (``messages.proto``).

This module is imported for the first proto message, so that ``import tinkex`` does not load protobuf.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tinkex.errors import InputError
from tinkex.types.checks import unpack
from tinkex.types.datum import Datum
from tinkex.types.provenance import ProvenanceSpan, SampledProvenanceSpan
from tinkex.types.sampling import EMPTY_LOGPROB, PromptAltTokens, SampledSequence, SampleResponse, TopkRows
from tinkex.types.tensor_data import TensorData, TensorDtype, check_csr
from tinkex.types.training import ForwardBackwardOutput
from tinkex.wire import messages_pb2 as pb
from tinkex.wire.validation import (
    check_count,
    check_logprobs,
    check_shape,
    check_tokens,
    decode,
    matching_logprobs,
)

# For each dtype of the protocol: the dtype to which it is converted, its size in bytes in the message, and how many
# times larger it is in memory.
_DTYPES: dict[int, tuple[TensorDtype, int, int]] = {
    pb.DTYPE_UNSPECIFIED: ("float32", 4, 1),
    pb.DTYPE_FLOAT32: ("float32", 4, 1),
    pb.DTYPE_INT64: ("int64", 8, 1),
    pb.DTYPE_INT32: ("int64", 4, 2),
    pb.DTYPE_BFLOAT16: ("float32", 2, 2),
}

_MOST_BARE_DATUMS = 65_536
"""The most datums without outputs in a result. They take no bytes in it, so its size does not limit them."""


def encode_forward_backward(
    model_id: str,
    seq_id: int,
    data: Sequence[Datum],
    loss_fn: str,
    loss_fn_config: Mapping[str, float | str] | None,
    *,
    forward_only: bool,
) -> bytes:
    """Return the body of a forward or forward-backward request. The same arguments give the same bytes."""
    message = pb.ForwardBackwardRequest(
        model_id=model_id, seq_id=seq_id, loss_fn=loss_fn, forward_only=forward_only
    )
    parts = []
    for datum in data:
        part = pb.ForwardBackwardRequest()
        target = part.data.add()
        for chunk in datum.model_input.chunks:
            if chunk.type == "encoded_text":
                target.model_input.add().encoded_text.tokens = chunk.packed
            elif chunk.type == "image":
                image = target.model_input.add().image
                image.data, image.format = chunk.data, chunk.format
                if chunk.expected_tokens is not None:
                    image.expected_tokens = chunk.expected_tokens
            elif chunk.type == "dmel":
                target.model_input.add().dmel.dmel = chunk.dmel
            else:
                raise InputError(
                    "an image_asset_pointer chunk travels only in JSON: Config(wire_format='json')"
                )
        for name, tensor in datum.loss_fn_inputs.items():
            _encode_tensor(target.loss_fn_inputs[name], tensor)
        for span in datum.model_input_spans or ():
            _encode_span(target.model_input_spans.add(), span)
        for span in datum.loss_fn_input_spans or ():
            _encode_span(target.loss_fn_input_spans.add(), span)
        parts.append(part.SerializeToString(deterministic=True))
    for name, value in (loss_fn_config or {}).items():
        if isinstance(value, str):
            message.loss_fn_config_v2[name].text = value
        else:
            message.loss_fn_config_v2[name].number = value
            message.loss_fn_config[name] = value
    # A parser merges concatenated messages into one (section "Last One Wins" of the encoding guide). To serialize
    # one large message would take several times as long, since its buffer grows by copying.
    return b"".join([message.SerializeToString(deterministic=True), *parts])


def read_loss_config(message: pb.ForwardBackwardRequest) -> dict[str, float | str]:
    """Return the settings of the loss in a request: those that only the newer of its two maps can hold, too."""
    config: dict[str, float | str] = dict(message.loss_fn_config)
    for name, value in message.loss_fn_config_v2.items():
        config[name] = value.text if value.WhichOneof("value") == "text" else value.number
    return config


def decode_sample(content: bytes) -> SampleResponse:
    """Read the result of a sample request. Raises ``APIResponseValidationError`` if it is not valid."""
    return decode("sample result", _read_sample, content)


def decode_forward_backward(content: bytes) -> ForwardBackwardOutput:
    """Read the result of a forward or forward-backward request.

    Raises ``APIResponseValidationError`` if it is not valid.
    """
    return decode("forward_backward result", _read_forward_backward, content)


def _encode_tensor(target: pb.Tensor, tensor: TensorData) -> None:
    target.dtype = pb.DTYPE_FLOAT32 if tensor.dtype == "float32" else pb.DTYPE_INT64
    target.shape.extend(tensor.shape)
    if tensor.sparse_crow_indices is None:
        target.dense = tensor.packed
        return
    target.sparse_csr.values = tensor.packed
    target.sparse_csr.crow_indices = TensorData(tensor.sparse_crow_indices, "int64").packed
    target.sparse_csr.col_indices = TensorData(tensor.sparse_col_indices, "int64").packed


def _encode_span(target: pb.ProvenanceSpan, span: ProvenanceSpan) -> None:
    tokens = target.sampled_tokens if isinstance(span, SampledProvenanceSpan) else target.prompt_tokens
    tokens.sequence_id, tokens.offset, tokens.length = span.sequence_id, span.offset, span.length


def _read_sample(content: bytes) -> SampleResponse:
    message = pb.SampleResponse.FromString(content)
    has = message.HasField
    alt = message.prompt_alt_tokens
    return SampleResponse(
        sequences=[_read_sequence(sequence) for sequence in message.sequences],
        prompt_logprobs=_optional_floats(message.prompt_logprobs) if has("prompt_logprobs") else None,
        topk_prompt_logprobs=(
            _read_topk(message.topk_prompt_logprobs) if has("topk_prompt_logprobs") else None
        ),
        target_prompt_logprobs=(
            _read_tensor(message.target_prompt_logprobs) if has("target_prompt_logprobs") else None
        ),
        prompt_cache_hit_tokens=message.prompt_cache_hit_tokens,
        prompt_alt_tokens=(
            PromptAltTokens(_read_tensor(alt.tokens), _read_tensor(alt.logprobs))
            if has("prompt_alt_tokens")
            else None
        ),
    )


def _read_forward_backward(content: bytes) -> ForwardBackwardOutput:
    message = pb.ForwardBackwardOutput.FromString(content)
    outputs: list[dict[str, TensorData]] = []
    bare = 0
    for record in message.loss_fn_outputs:
        columns = {name: _split(field, record.num_datums) for name, field in record.fields.items()}
        if columns:
            outputs.extend(dict(zip(columns, row)) for row in zip(*columns.values()))
            continue
        bare += record.num_datums
        if record.num_datums < 0 or bare > _MOST_BARE_DATUMS:
            raise ValueError(f"{record.num_datums} datums without any output")
        outputs.extend({} for _ in range(record.num_datums))
    return ForwardBackwardOutput(message.loss_fn_output_type, outputs, dict(message.metrics))


def _read_tensor(message: pb.Tensor) -> TensorData:
    dtype, width, wider = _dtype(message.dtype)
    if message.WhichOneof("encoding") == "sparse_csr":
        csr = message.sparse_csr
        check_shape(message.shape)
        crow, col = unpack(csr.crow_indices, "q"), unpack(csr.col_indices, "q")
        count, rest = divmod(len(csr.values), width)
        if rest:
            raise ValueError(f"{len(csr.values)} bytes are no {dtype} values")
        check_csr(count, message.shape, crow, col)
        return TensorData.from_packed(_widen(csr.values, message.dtype), dtype, message.shape, crow, col)
    packed = _widen(message.dense, message.dtype)
    count, rest = divmod(len(packed), width * wider)
    if rest:
        raise ValueError(f"{len(message.dense)} bytes are no {dtype} values")
    shape = message.shape or [count]
    check_count(shape, count)
    return TensorData.from_packed(packed, dtype, shape)


def _split(field: pb.BatchedTensor, count: int) -> list[TensorData]:
    """Return the tensors of ``count`` datums, which one buffer contains one after the other."""
    dtype, width, wider = _dtype(field.dtype)
    data = field.data  # taken once: each access to a bytes field of a message copies all of it
    offsets = unpack(field.offsets, "q") or [0, len(data)]
    if len(offsets) != count + 1:
        raise ValueError(f"{count} datums but {len(offsets)} offsets")
    if offsets[0] != 0 or offsets[-1] != len(data) or offsets != sorted(offsets):
        raise ValueError(f"the offsets do not rise from 0 to the {len(data)} bytes of data")
    trailing = field.trailing_shape
    check_shape(trailing)
    row = width * math.prod(trailing)
    packed = _widen(data, field.dtype)
    tensors = []
    for start, end in zip(offsets, offsets[1:]):
        rows, rest = divmod(end - start, row) if row else (0, end - start)
        if rest:
            raise ValueError(f"{end - start} bytes are no {dtype} values of shape {[-1, *trailing]}")
        part = packed[wider * start : wider * end]
        tensors.append(TensorData.from_packed(part, dtype, [rows, *trailing]))
    return tensors


def _dtype(number: int) -> tuple[TensorDtype, int, int]:
    if number not in _DTYPES:
        raise ValueError(f"{number} is no dtype")
    return _DTYPES[number]


def _widen(packed: bytes, dtype: int) -> bytes:
    """Convert bfloat16 to float32 and int32 to int64; keep other dtypes."""
    if dtype == pb.DTYPE_BFLOAT16:
        wide = bytearray(2 * len(packed))
        wide[2::4], wide[3::4] = packed[0::2], packed[1::2]
        return bytes(wide)
    if dtype == pb.DTYPE_INT32:
        return TensorData(unpack(packed, "i"), "int64").packed
    return packed


def _read_sequence(message: pb.SampledSequence) -> SampledSequence:
    packed = message.tokens
    check_tokens("tokens", packed)
    tokens, logprobs = unpack(packed, "i"), unpack(message.logprobs, "f")
    check_logprobs("logprobs", logprobs)
    return SampledSequence(
        stop_reason="length" if message.stop_reason == pb.STOP_REASON_LENGTH else "stop",
        tokens=tokens,
        logprobs=matching_logprobs(tokens, logprobs) if message.HasField("logprobs") else None,
        topk_logprobs=(
            _read_topk(message.topk_sampled_logprobs) if message.HasField("topk_sampled_logprobs") else None
        ),
    )


def _read_topk(message: pb.TopkLogprobs) -> TopkRows:
    k, length = message.k, message.length
    ids, values = unpack(message.token_ids, "i"), unpack(message.logprobs, "f")
    check_tokens("top-k tokens", message.token_ids)
    check_logprobs("top-k logprobs", values)
    if not len(ids) == len(values) == k * length or (length and not k):
        raise ValueError(f"{len(ids)} tokens and {len(values)} logprobs for {length} rows of {k}")
    cells = list(zip(ids, values))
    rows = [cells[at * k : (at + 1) * k] for at in range(length)]
    if EMPTY_LOGPROB in values:
        rows = [[cell for cell in row if cell != (0, EMPTY_LOGPROB)] for row in rows]
    return [row or None for row in rows]


def _optional_floats(packed: bytes) -> list[float | None]:
    return [None if value != value else value for value in unpack(packed, "f")]
