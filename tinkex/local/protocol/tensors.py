"""Tokens and tensors, read from JSON or proto into arrays."""

from __future__ import annotations

import array
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinkex.local.model.arrays import Array
from tinkex.local.protocol.fields import Fields
from tinkex.local.protocol.refused import Refused
from tinkex.wire import messages_pb2 as pb

_MAX_DIMENSIONS = 2
_MAX_CELLS = 1 << 23  # of a dense tensor that is made of a sparse one
_NUMBERS = {int, float}
_PROTO_DTYPES = {
    pb.DTYPE_FLOAT32: "<f4",
    pb.DTYPE_INT64: "<i8",
    pb.DTYPE_INT32: "<i4",
    pb.DTYPE_BFLOAT16: "<u2",
}


def json_tokens(model_input: Fields) -> list[Array]:
    """The chunks of tokens in a ``ModelInput``."""
    chunks = []
    for i, item in enumerate(model_input.items("chunks")):
        chunk = Fields(item, model_input.name_of(f"chunks[{i}]"))
        if chunk.text("type", "encoded_text") != "encoded_text":
            raise Refused(400, f"{chunk.name_of('type')}: this model reads text only")
        chunks.append(_integers(chunk.items("tokens"), chunk.name_of("tokens")))
    return chunks


def json_tensor(tensor: Fields, where: str) -> Array:
    """The array in a ``TensorData``; messages call it ``where``."""
    dtype = tensor.text("dtype")
    if dtype not in ("float32", "int64"):
        raise Refused(422, f"{where}: dtype must be float32 or int64, is {dtype!r}")
    read = _floats if dtype == "float32" else _integers
    values = read(tensor.items("data"), where)
    shape = [Fields({"n": n}, f"{where}.shape").integer("n", low=0) for n in tensor.items("shape", [])]
    if "sparse_crow_indices" in tensor:
        rows = _integers(tensor.items("sparse_crow_indices"), where)
        columns = _integers(tensor.items("sparse_col_indices"), where)
        return _from_csr(values, rows, columns, shape, where)
    return _shaped(values, shape if "shape" in tensor else [len(values)], where)


def proto_tokens(chunks: Sequence[pb.Chunk], where: str) -> list[Array]:
    """The chunks of tokens in a model input; messages call it ``where``."""
    tokens = []
    for chunk in chunks:
        if chunk.WhichOneof("chunk") != "encoded_text":
            raise Refused(400, f"{where}: this model reads text only")
        tokens.append(_from_bytes(chunk.encoded_text.tokens, "<i4", where))
    return tokens


def proto_tensor(tensor: pb.Tensor, where: str) -> Array:
    """The array in a ``Tensor``; messages call it ``where``."""
    dtype = _PROTO_DTYPES.get(tensor.dtype)
    if dtype is None:
        raise Refused(422, f"{where}: unknown dtype {tensor.dtype}")
    sparse = tensor.WhichOneof("encoding") == "sparse_csr"
    values = _from_bytes(tensor.sparse_csr.values if sparse else tensor.dense, dtype, where)
    if tensor.dtype == pb.DTYPE_BFLOAT16:
        # A bfloat16 is the upper half of a float32.
        values = (values.astype("<u4") << 16).view("<f4")
    shape = list(tensor.shape)
    if sparse:
        rows = _from_bytes(tensor.sparse_csr.crow_indices, "<i8", where)
        columns = _from_bytes(tensor.sparse_csr.col_indices, "<i8", where)
        return _from_csr(values, rows, columns, shape, where)
    return _shaped(values, shape or [len(values)], where)


def _integers(values: list[Any], where: str) -> Array:
    kinds = _kinds(values, where)
    try:
        if float in kinds:
            whole = [int(value) for value in values]
            if whole != values:
                raise Refused(422, f"{where}: must hold integers")
            values = whole
        return np.asarray(array.array("q", values), np.int64)
    except (OverflowError, ValueError):  # too large for 64 bits, infinite or NaN
        raise Refused(422, f"{where}: must hold integers of at most 64 bits") from None


def _floats(values: list[Any], where: str) -> Array:
    _kinds(values, where)
    try:
        # A number that is too large becomes infinite, which the model refuses.
        with np.errstate(over="ignore"):
            return np.asarray(array.array("d", values)).astype(np.float32)
    except OverflowError:
        raise Refused(422, f"{where}: must hold numbers that float32 can express") from None


def _kinds(values: list[Any], where: str) -> set[type]:
    kinds = set(map(type, values))
    if not kinds <= _NUMBERS:
        raise Refused(422, f"{where}: must be a flat list of numbers")
    return kinds


def _from_bytes(data: bytes, dtype: str, where: str) -> Array:
    try:
        return np.frombuffer(data, dtype)
    except ValueError:
        raise Refused(
            422, f"{where}: {len(data)} bytes are no whole number of {np.dtype(dtype).name}"
        ) from None


def _shaped(values: Array, shape: list[int], where: str) -> Array:
    if len(shape) > _MAX_DIMENSIONS:
        raise Refused(422, f"{where}: must have at most {_MAX_DIMENSIONS} dimensions, has {len(shape)}")
    if any(n < 0 for n in shape) or math.prod(shape) != len(values):
        raise Refused(422, f"{where}: {len(values)} values do not fill shape {shape}")
    try:
        return values.reshape(shape)
    except ValueError:  # a size too large for numpy, beside a size of 0
        raise Refused(422, f"{where}: shape {shape} is too large") from None


def _from_csr(values: Array, rows: Array, columns: Array, shape: list[int], where: str) -> Array:
    """The dense array of a sparse one in the CSR format."""
    if len(shape) != 2 or min(shape) < 0 or max(shape) > _MAX_CELLS or math.prod(shape) > _MAX_CELLS:
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
