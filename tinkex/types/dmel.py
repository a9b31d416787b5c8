"""Audio in a model input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tinkex.errors import InputError
from tinkex.types.checks import content, tag
from tinkex.types.data import Data

_CONSTANT = 254
"""The byte before the header of a tensor whose values are all equal."""
_DTYPES = 8
"""The number of dtypes of a ``TensorContainer``; their codes are smaller than this."""


@dataclass(frozen=True)
class DmelChunk(Data):
    """A run of audio tokens, as the bytes of a serialized ``TensorContainer``. Base64 text is decoded.

    The bytes are made by the audio renderer of the model, which is not part of this package. They are sent
    unchanged.
    """

    dmel: bytes
    type: Literal["dmel"] = "dmel"

    def __post_init__(self) -> None:
        tag(self, self.type)
        self.__dict__["dmel"] = content("dmel", self.dmel)

    @property
    def length(self) -> int:
        """The number of tokens: the first dimension of the tensor. Raises ``InputError`` if it cannot be read."""
        return _first_dimension(self.dmel)

    @property
    def nbytes(self) -> int:
        """The size in bytes."""
        return len(self.dmel)


def _first_dimension(container: bytes) -> int:
    """Return the first dimension in the header of a serialized tensor.

    The header is ``[254] dtype rank dimension...``: an optional byte 254, one byte for the dtype, and a varint
    for the rank and for each dimension.
    """
    at = 1 if container[0] == _CONSTANT else 0
    if container[at : at + 1] >= bytes([_DTYPES]):
        raise InputError(f"dmel is no TensorContainer: it has an unknown dtype, {container[at]}")
    rank, at = _varint(container, at + 1)
    if rank == 0:
        raise InputError("dmel is a single number, which has no length")
    return _varint(container, at)[0]


def _varint(container: bytes, at: int) -> tuple[int, int]:
    """Read a varint (groups of seven bits, the lowest first) at ``at``; return it and where it ends."""
    value = 0
    for shift, byte in zip(range(0, 64, 7), container[at : at + 10]):
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise InputError("dmel is no TensorContainer: its header is cut off")
