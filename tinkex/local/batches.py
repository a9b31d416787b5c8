"""Training data: read from proto or JSON, and checked, before it is queued."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from tinkex.wire import messages_pb2 as pb

from .arrays import Floats, Ints
from .byte_tokenizer import VOCAB_SIZE
from .fields import Fields
from .losses import LOSSES
from .model import MAX_CONTEXT_LENGTH
from .problems import Refused

Array = NDArray[Any]


@dataclass(frozen=True)
class Datum:
    """`tokens [n]`; every input `[n]`, or `[n, m]` for m targets a position."""

    tokens: Ints
    targets: Ints
    inputs: Mapping[str, Floats]


@dataclass(frozen=True)
class Batch:
    """One forward or forward_backward call."""

    model_id: str
    seq_id: int | None
    data: tuple[Datum, ...]
    loss: str
    config: Mapping[str, float]
    forward_only: bool


def from_proto(body: bytes) -> Batch:
    """Read a `ForwardBackwardRequest` message.

    Raises:
        Refused: 400 if it cannot be parsed; 400 or 422 for what it says.
    """
    message = pb.ForwardBackwardRequest()
    try:
        message.ParseFromString(body)
    except DecodeError as error:
        raise Refused(400, f"the body is not a ForwardBackwardRequest: {error}") from None
    config: dict[str, Any] = dict(message.loss_fn_config)
    for key, value in message.loss_fn_config_v2.items():
        config[key] = value.text if value.WhichOneof("value") == "text" else value.number
    data = [
        (
            [_proto_chunk(chunk, f"data[{i}]") for chunk in datum.model_input],
            {name: _proto_tensor(t, f"data[{i}].{name}") for name, t in datum.loss_fn_inputs.items()},
        )
        for i, datum in enumerate(message.data)
    ]
    # A seq_id of 0 is what proto3 says for none.
    return _checked(
        message.model_id, message.seq_id or None, data, message.loss_fn, config, message.forward_only
    )


def from_json(document: Any, *, forward_only: bool) -> Batch:
    """Read the JSON body of `/forward_backward` or, with `forward_only`, of `/forward`."""
    body = Fields(document)
    request = body.child("forward_input" if forward_only else "forward_backward_input")
    data = []
    for i, item in enumerate(request.items("data")):
        datum = Fields(item, f"data[{i}]")
        tensors = datum.child("loss_fn_inputs")
        names = datum.mapping("loss_fn_inputs") or {}
        data.append(
            (
                json_chunks(datum.child("model_input")),
                {name: json_tensor(tensors.child(name), f"data[{i}].{name}") for name in names},
            )
        )
    return _checked(
        body.text("model_id"),
        body.integer("seq_id", None, low=1),
        data,
        request.text("loss_fn"),
        request.mapping("loss_fn_config") or {},
        forward_only,
    )


def json_chunks(model_input: Fields) -> list[Ints]:
    """The token chunks of a `ModelInput`."""
    chunks = []
    for i, item in enumerate(model_input.items("chunks")):
        chunk = Fields(item, model_input.name_of(f"chunks[{i}]"))
        if chunk.text("type", "encoded_text") != "encoded_text":
            raise Refused(400, f"{chunk.name_of('type')}: this model reads text only")
        chunks.append(_numbers(chunk.items("tokens"), np.int64, chunk.name_of("tokens")))
    return chunks


def json_tensor(tensor: Fields, where: str) -> Array:
    """A `TensorData` as a dense array."""
    dtype = tensor.text("dtype")
    if dtype not in ("float32", "int64"):
        raise Refused(422, f"{where}: dtype must be float32 or int64, is {dtype!r}")
    values = _numbers(tensor.items("data"), np.float32 if dtype == "float32" else np.int64, where)
    shape = [Fields({"n": n}, f"{where}.shape").integer("n", low=0) for n in tensor.items("shape", [])]
    if "sparse_crow_indices" in tensor:
        rows = _numbers(tensor.items("sparse_crow_indices"), np.int64, where)
        columns = _numbers(tensor.items("sparse_col_indices"), np.int64, where)
        return _from_csr(values, rows, columns, shape, where)
    return _shaped(values, shape if "shape" in tensor else [len(values)], where)


def check_tokens(tokens: Array, where: str) -> Ints:
    """`tokens` if all are in the vocabulary."""
    if tokens.dtype.kind != "i":
        raise Refused(422, f"{where}: token ids must be integers")
    if tokens.size and (tokens.min() < 0 or tokens.max() >= VOCAB_SIZE):
        bad = tokens[(tokens < 0) | (tokens >= VOCAB_SIZE)].flat[0]
        raise Refused(400, f"{where}: token {bad} is outside the vocabulary 0..{VOCAB_SIZE - 1}")
    return tokens.astype(np.int64, copy=False)


def _numbers(values: list[Any], dtype: type[np.generic], where: str) -> Array:
    try:
        array = np.asarray(values)
    except (ValueError, OverflowError):
        raise Refused(422, f"{where}: must be a flat list of numbers") from None
    if not values:
        return np.zeros(0, dtype)
    if array.ndim != 1 or array.dtype.kind not in "if":
        raise Refused(422, f"{where}: must be a flat list of numbers")
    if (
        dtype is np.int64
        and array.dtype.kind == "f"
        and not (np.isfinite(array) & (array == np.trunc(array))).all()
    ):
        raise Refused(422, f"{where}: must hold integers")
    return array.astype(dtype)


def _proto_chunk(chunk: pb.Chunk, where: str) -> Array:
    if chunk.WhichOneof("chunk") != "encoded_text":
        raise Refused(400, f"{where}: this model reads text only")
    return _array(chunk.encoded_text.tokens, "<i4", where)


_PROTO_DTYPES = {
    pb.DTYPE_FLOAT32: "<f4",
    pb.DTYPE_INT64: "<i8",
    pb.DTYPE_INT32: "<i4",
    pb.DTYPE_BFLOAT16: "<u2",
}


def _proto_tensor(tensor: pb.Tensor, where: str) -> Array:
    dtype = _PROTO_DTYPES.get(tensor.dtype)
    if dtype is None:
        raise Refused(422, f"{where}: unknown dtype {tensor.dtype}")
    sparse = tensor.WhichOneof("data") == "sparse_csr"
    values = _array(tensor.sparse_csr.values if sparse else tensor.dense, dtype, where)
    if tensor.dtype == pb.DTYPE_BFLOAT16:
        values = (values.astype("<u4") << 16).view("<f4")
    shape = list(tensor.shape)
    if sparse:
        rows = _array(tensor.sparse_csr.crow_indices, "<i8", where)
        columns = _array(tensor.sparse_csr.col_indices, "<i8", where)
        return _from_csr(values, rows, columns, shape, where)
    return _shaped(values, shape or [len(values)], where)


def _array(data: bytes, dtype: str, where: str) -> Array:
    try:
        return np.frombuffer(data, dtype)
    except ValueError:
        raise Refused(
            422, f"{where}: {len(data)} bytes are no whole number of {np.dtype(dtype).name}"
        ) from None


def _shaped(values: Array, shape: list[int], where: str) -> Array:
    if any(n < 0 for n in shape) or math.prod(shape) != len(values):
        raise Refused(422, f"{where}: {len(values)} values do not fill shape {shape}")
    return values.reshape(shape)


def _from_csr(values: Array, rows: Array, columns: Array, shape: list[int], where: str) -> Array:
    if len(shape) != 2 or not (0 <= shape[0] <= MAX_CONTEXT_LENGTH and 0 <= shape[1] <= VOCAB_SIZE):
        raise Refused(422, f"{where}: a sparse tensor needs a shape [rows, columns] of usable size")
    counts = np.diff(rows)
    consistent = (
        len(rows) == shape[0] + 1
        and rows[0] == 0
        and (counts >= 0).all()
        and rows[-1] == len(values) == len(columns)
        and (len(columns) == 0 or (columns.min() >= 0 and columns.max() < shape[1]))
    )
    if not consistent:
        raise Refused(422, f"{where}: the sparse indices do not describe shape {shape}")
    dense = np.zeros(shape, values.dtype)
    dense[np.repeat(np.arange(shape[0]), counts), columns] = values
    return dense


def _checked(
    model_id: str,
    seq_id: int | None,
    data: list[tuple[list[Array], dict[str, Array]]],
    loss: str,
    config: Mapping[str, Any],
    forward_only: bool,
) -> Batch:
    if loss not in LOSSES:
        raise Refused(400, f"loss_fn: {loss!r} is unknown; there are {', '.join(LOSSES)}")
    if seq_id is not None and seq_id < 1:
        raise Refused(422, f"seq_id: must be at least 1, is {seq_id}")
    if not data:
        raise Refused(400, "data: must hold at least one datum")
    for key, value in config.items():
        if key not in LOSSES[loss].config_keys:
            raise Refused(400, f"loss_fn_config: {loss} has no setting {key!r}")
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise Refused(422, f"loss_fn_config.{key}: must be a finite number")
    datums = tuple(_datum(i, chunks, inputs, loss) for i, (chunks, inputs) in enumerate(data))
    return Batch(model_id, seq_id, datums, loss, dict(config), forward_only)


def _datum(i: int, chunks: list[Array], inputs: dict[str, Array], loss: str) -> Datum:
    where = f"data[{i}]"
    tokens = check_tokens(np.concatenate([*chunks, np.zeros(0, np.int64)]), f"{where}.model_input")
    if not 0 < len(tokens) <= MAX_CONTEXT_LENGTH:
        raise Refused(
            400, f"{where}.model_input: must hold 1 to {MAX_CONTEXT_LENGTH} tokens, holds {len(tokens)}"
        )
    rules = LOSSES[loss]
    missing = sorted(rules.required - inputs.keys())
    if missing:
        raise Refused(400, f"{where}: {loss} needs loss_fn_inputs {', '.join(missing)}")
    unknown = sorted(inputs.keys() - rules.required - rules.optional)
    if unknown:
        raise Refused(400, f"{where}: {loss} knows no loss_fn_inputs {', '.join(unknown)}")
    targets = check_tokens(inputs["target_tokens"], f"{where}.target_tokens")
    if targets.ndim not in (1, 2) or len(targets) != len(tokens) or not targets.size:
        raise Refused(
            400, f"{where}.target_tokens: shape {list(targets.shape)} does not fit {len(tokens)} input tokens"
        )
    floats = {}
    for name, value in inputs.items():
        if value.shape != targets.shape:
            raise Refused(
                400,
                f"{where}.{name}: shape {list(value.shape)} differs from target_tokens {list(targets.shape)}",
            )
        if name != "target_tokens":
            if not np.isfinite(value).all():
                raise Refused(400, f"{where}.{name}: must be finite")
            floats[name] = value.astype(np.float32, copy=False)
    return Datum(tokens, targets, floats)
