"""Tensors of the API: a flat buffer of float32 or int64 with a shape, dense or sparse (CSR)."""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tinkex.errors import InputError
from tinkex.types.checks import unpack
from tinkex.types.data import Data
from tinkex.types.descriptors import Made

if TYPE_CHECKING:
    import numpy as np
    import torch

TensorDtype = Literal["float32", "int64"]

_TYPECODE = {"float32": "f", "int64": "q"}
_LOSSY = "an int64 tensor cannot hold fractions or numbers of 2**63 and more"


class _Values(Made):
    """The values of a tensor as one flat list, which is new at each access."""

    def make(self, tensor: TensorData) -> list[Any]:
        return unpack(tensor.packed, _TYPECODE[tensor.dtype])


@dataclass(frozen=True, init=False, eq=False)
class TensorData(Data, own=("shape", "sparse_crow_indices", "sparse_col_indices")):
    """A tensor of ``float32`` or ``int64``, which cannot be changed.

    ``data`` is a (nested) list, an ``array.array``, a numpy array or a torch tensor. ``shape`` is by default the
    shape of ``data``. With ``sparse_crow_indices`` (length: rows + 1) and ``sparse_col_indices`` (length: number
    of values) the tensor is in CSR form: ``data`` has only the values that are stored, and ``shape``, which is
    then required, is the shape of the dense tensor.

    Raises ``InputError`` for ragged lists, values that are not numbers, fractions or numbers out of range in an
    ``int64`` tensor, and a shape that does not match the number of values.
    """

    data: list[Any]
    """The values as one flat list; for a sparse tensor only the values that are stored."""
    dtype: TensorDtype
    shape: list[int]
    sparse_crow_indices: list[int] | None
    sparse_col_indices: list[int] | None

    if not TYPE_CHECKING:  # a type checker would take it for a default
        data = _Values()

    def __init__(
        self,
        data: Any = None,
        dtype: TensorDtype | None = None,
        shape: Sequence[int] | None = None,
        sparse_crow_indices: Sequence[int] | None = None,
        sparse_col_indices: Sequence[int] | None = None,
    ) -> None:
        packed, found_dtype, found_shape = _pack([] if data is None else data, dtype)
        count = math.prod(found_shape)
        sparse = sparse_crow_indices is not None or sparse_col_indices is not None
        full_shape = list(found_shape if shape is None else shape)
        if sparse:
            check_csr(count, shape, sparse_crow_indices, sparse_col_indices)
        elif math.prod(full_shape) != count:
            raise InputError(
                f"shape {full_shape} holds {math.prod(full_shape)} values, but there are {count}"
            )
        self._set(packed, found_dtype, full_shape, sparse_crow_indices, sparse_col_indices)

    def __repr__(self) -> str:
        values = self.packed[: 8 * self._width]
        shown = ", ".join(map(repr, unpack(values, _TYPECODE[self.dtype])))
        more = ", ..." if len(self.packed) > len(values) else ""
        sparse = "" if self.sparse_crow_indices is None else ", sparse"
        return f"TensorData([{shown}{more}], {self.dtype!r}, shape={self.shape}{sparse})"

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if isinstance(other, TensorData) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.packed)

    @property
    def _width(self) -> int:
        return 4 if self.dtype == "float32" else 8

    @classmethod
    def from_packed(
        cls,
        packed: bytes,
        dtype: TensorDtype,
        shape: Sequence[int],
        crow: Sequence[int] | None = None,
        col: Sequence[int] | None = None,
    ) -> TensorData:
        """Return a tensor of bytes that are already little-endian and in C order. Nothing is checked."""
        tensor = cls.__new__(cls)
        tensor._set(packed, dtype, list(shape), crow, col)
        return tensor

    @classmethod
    def from_numpy(cls, array: np.ndarray[Any, Any]) -> TensorData:
        """Return a tensor of the same shape. Floats become float32, and whole numbers int64."""
        return cls(array)

    @classmethod
    def from_torch(cls, tensor: torch.Tensor) -> TensorData:
        """Return a tensor of the same shape. Floats, including bfloat16, become float32, whole numbers int64."""
        return cls(tensor)

    @classmethod
    def from_torch_sparse(cls, tensor: torch.Tensor, pad_value: int = 0) -> TensorData:
        """Return a 2-D tensor in CSR form, without the entries equal to ``pad_value``.

        A tensor of another rank, or one that would not be smaller in CSR form, is returned dense.
        """
        if tensor.ndim != 2:
            return cls(tensor)
        tensor = tensor.to_dense()
        listed = tensor != pad_value
        rows, kept = tensor.shape[0], int(listed.sum())
        if rows + 1 + 2 * kept >= tensor.numel():
            return cls(tensor)
        crow = [0, *listed.sum(dim=1).cumsum(dim=0).tolist()]
        return cls(
            tensor[listed],
            shape=list(tensor.shape),
            sparse_crow_indices=crow,
            sparse_col_indices=listed.nonzero()[:, 1].tolist(),
        )

    @property
    def packed(self) -> bytes:
        """The values as little-endian bytes, in C order."""
        packed: bytes = self.__dict__["packed"]
        return packed

    @property
    def nbytes(self) -> int:
        """The size in bytes of the values and, for a sparse tensor, of the indices."""
        indices = len(self.sparse_crow_indices or ()) + len(self.sparse_col_indices or ())
        return len(self.packed) + 8 * indices

    def to_dtype(self, dtype: TensorDtype) -> TensorData:
        """Return the same tensor as ``dtype``. Raises ``InputError`` if that cannot hold all values exactly."""
        if dtype == self.dtype:
            return self
        values = self.data
        converted, _, _ = _pack(values, dtype)
        if unpack(converted, _TYPECODE[dtype]) != values:
            raise InputError(f"a {dtype} tensor cannot hold these {self.dtype} values exactly")
        return TensorData.from_packed(
            converted, dtype, self.shape, self.sparse_crow_indices, self.sparse_col_indices
        )

    def tolist(self, pad_value: int = 0) -> list[Any]:
        """Return nested lists of this shape. Entries that a sparse tensor does not store are ``pad_value``."""
        nested: list[Any] = _nest(
            self.data if self.sparse_crow_indices is None else self._dense(pad_value), self.shape
        )
        return nested

    def to_numpy(self, pad_value: int = 0) -> np.ndarray[Any, Any]:
        """Return a writable numpy array of this shape. Needs numpy."""
        import numpy as np

        kind = np.dtype(self.dtype).newbyteorder("<")
        if self.sparse_crow_indices is not None:
            return np.array(self._dense(pad_value), dtype=self.dtype).reshape(self.shape)
        return np.frombuffer(self.packed, dtype=kind).astype(self.dtype).reshape(self.shape)

    def to_torch(self, pad_value: int = 0) -> torch.Tensor:
        """Return a torch tensor of this shape. Needs torch."""
        import torch

        dtype = torch.float32 if self.dtype == "float32" else torch.int64
        if self.sparse_crow_indices is not None:
            return torch.tensor(self._dense(pad_value), dtype=dtype).reshape(self.shape)
        if not self.packed:
            return torch.empty(self.shape, dtype=dtype)
        return torch.frombuffer(bytearray(self.packed), dtype=dtype).reshape(self.shape)

    def _set(
        self,
        packed: bytes,
        dtype: TensorDtype,
        shape: list[int],
        crow: Sequence[int] | None,
        col: Sequence[int] | None,
    ) -> None:
        # The class is frozen for its users; one update costs half of five calls of ``object.__setattr__``.
        self.__dict__.update(
            packed=packed,
            dtype=dtype,
            shape=tuple(shape),
            sparse_crow_indices=None if crow is None else tuple(crow),
            sparse_col_indices=None if col is None else tuple(col),
        )

    def _dense(self, pad_value: int) -> list[Any]:
        if isinstance(pad_value, bool) or not hasattr(pad_value, "__index__"):
            raise InputError(f"pad_value must be a whole number, not {pad_value!r}")
        crow, col = self.sparse_crow_indices or [], self.sparse_col_indices or []
        rows, columns = self.shape
        pad = float(pad_value) if self.dtype == "float32" else int(pad_value)
        dense: list[Any] = [pad] * (rows * columns)
        values = self.data
        for row in range(rows):
            for at in range(crow[row], crow[row + 1]):
                dense[row * columns + col[at]] = values[at]
        return dense


def _pack(data: Any, dtype: TensorDtype | None) -> tuple[bytes, TensorDtype, list[int]]:
    """Return ``(bytes, dtype, shape)`` of a list, an array or a tensor."""
    if dtype is not None and dtype not in _TYPECODE:
        raise InputError(f"dtype must be 'float32' or 'int64', not {dtype!r}")
    if hasattr(data, "detach") and hasattr(data, "cpu"):  # a torch tensor
        return _pack_torch(data.detach(), dtype)
    if hasattr(data, "__array_interface__"):  # a numpy array or scalar
        return _pack_numpy(data, dtype)
    if isinstance(data, array):
        if dtype is None:
            dtype = "float32" if data.typecode in "fd" else "int64"
        flat: Sequence[Any] = data
        shape = [len(data)]
    elif isinstance(data, (list, tuple)):
        flat, shape = _flatten(data)
        if dtype is None:
            dtype = "float32" if any(isinstance(value, float) for value in flat) else "int64"
    else:
        raise InputError(f"a tensor cannot be made of {type(data).__name__}")
    try:
        packed = struct.pack(f"<{len(flat)}{_TYPECODE[dtype]}", *flat)
    except (TypeError, OverflowError, struct.error):
        if dtype == "int64" and any(isinstance(value, float) for value in flat):
            return _pack(_nest(_whole_numbers(flat), shape), dtype)
        raise InputError(_explain_misfit(flat, dtype)) from None
    return packed, dtype, shape


def _pack_torch(tensor: Any, dtype: TensorDtype | None) -> tuple[bytes, TensorDtype, list[int]]:
    """Pack a torch tensor without numpy, which need not be installed beside torch."""
    import torch

    if tensor.is_complex():
        raise InputError(f"a tensor holds numbers, not {tensor.dtype}")
    if dtype is None:
        dtype = "float32" if tensor.is_floating_point() else "int64"
    try:
        shape = list(tensor.shape)
        packed = bytearray(tensor.numel() * array(_TYPECODE[dtype]).itemsize)
        if not packed:
            return b"", dtype, shape
        converted = torch.frombuffer(packed, dtype=getattr(torch, dtype)).reshape(shape)
        converted.copy_(tensor.to_dense())  # from any device, dtype and strides
    except RuntimeError as error:
        raise InputError(f"this torch tensor cannot be read: {error}") from None
    if dtype == "int64" and tensor.dtype != torch.int64 and (converted.double() != tensor.double()).any():
        raise InputError(_LOSSY)
    return bytes(packed), dtype, shape


def _pack_numpy(data: Any, dtype: TensorDtype | None) -> tuple[bytes, TensorDtype, list[int]]:
    kind = data.dtype.kind
    if kind not in "fiub":
        raise InputError(f"a tensor holds numbers, not {data.dtype}")
    if dtype is None:
        dtype = "float32" if kind == "f" else "int64"
    converted = data.astype("<f4" if dtype == "float32" else "<i8", copy=False)
    if dtype == "int64" and kind in "fu" and not (converted == data).all():
        raise InputError(_LOSSY)
    shape = list(data.shape)
    return converted.tobytes(), dtype, shape


def _flatten(values: Sequence[Any]) -> tuple[Sequence[Any], list[int]]:
    """Return the values of nested lists as one flat sequence, and their shape.

    The list is nested if its first element is a list or a tuple.
    """
    if not values or not isinstance(values[0], (list, tuple)):
        return values, [len(values)]
    flat: list[Any] = []
    row_shape: list[int] | None = None
    for row in values:
        if not isinstance(row, (list, tuple)):
            raise InputError("ragged nested lists do not make a tensor")
        inner, shape = _flatten(row)
        if row_shape not in (None, shape):
            raise InputError(f"ragged nested lists do not make a tensor: rows of {row_shape} and {shape}")
        row_shape = shape
        flat.extend(inner)
    return flat, [len(values), *(row_shape or [])]


def _whole_numbers(flat: Sequence[Any]) -> list[int]:
    """Return floats that are whole numbers as ints. Raises ``InputError`` if one is not."""
    if not all(float(value).is_integer() for value in flat if isinstance(value, float)):
        raise InputError(_explain_misfit(flat, "int64"))
    return [int(value) if isinstance(value, float) else value for value in flat]


def _explain_misfit(flat: Sequence[Any], dtype: str) -> str:
    for at, value in enumerate(flat):
        if isinstance(value, (list, tuple)):
            return "ragged nested lists do not make a tensor"
        if not hasattr(value, "__index__") and not (dtype == "float32" and hasattr(value, "__float__")):
            wanted = "numbers" if dtype == "float32" else "whole numbers"
            return f"a {dtype} tensor holds {wanted}, but value {at} is {value!r}"
    return f"a number is too large for a {dtype} tensor"


def check_csr(
    count: int, shape: Sequence[int] | None, crow: Sequence[int] | None, col: Sequence[int] | None
) -> None:
    """Raise ``InputError`` unless ``count`` values with these indices are a sparse tensor of this shape."""
    if crow is None or col is None or shape is None or len(shape) != 2:
        raise InputError("a sparse tensor needs crow indices, col indices and a 2-D shape")
    rising = all(low <= high for low, high in zip(crow, list(crow)[1:]))
    if len(crow) != shape[0] + 1 or crow[0] != 0 or crow[-1] != count or not rising:
        raise InputError(f"crow indices must rise from 0 to {count} in {shape[0] + 1} steps")
    if len(col) != count or any(not 0 <= column < shape[1] for column in col):
        raise InputError(f"col indices must be {count} numbers from 0 to {shape[1] - 1}")


def _nest(flat: list[Any], shape: Sequence[int]) -> Any:
    if not shape:
        return flat[0]
    if len(shape) == 1:
        return flat
    step = math.prod(shape[1:])
    return [_nest(flat[at * step : (at + 1) * step], shape[1:]) for at in range(shape[0])]
