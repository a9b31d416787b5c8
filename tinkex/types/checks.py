"""Checks that several types share. Each raises ``InputError`` naming the argument."""

from __future__ import annotations

import base64
import math
import struct
import sys
from array import array
from collections.abc import Sequence
from typing import Any

from tinkex.errors import InputError

LARGEST = 2**63 - 1


def whole(name: str, value: Any, *, at_least: int) -> None:
    """``value`` is a whole number (a bool is not) of ``at_least`` or more that fits 64 bits."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise InputError(f"{name} must be a whole number, not {value!r}")
    if value < at_least:
        raise InputError(f"{name} must be {at_least} or more, not {value!r}")
    if value > LARGEST:
        raise InputError(f"{name} must be {LARGEST} or less")


def finite(name: str, value: Any, *, at_least: float = 0.0, at_most: float = math.inf) -> None:
    """``value`` is a finite number within the bounds, both included."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be a number, not {value!r}") from None
    except OverflowError:
        raise InputError(f"{name} must be a finite number, not a larger one than any float") from None
    if isinstance(value, str) or not math.isfinite(number):
        raise InputError(f"{name} must be a finite number, not {value!r}")
    if not at_least <= number <= at_most:
        raise InputError(f"{name} must lie between {at_least:g} and {at_most:g}, not {value!r}")


def tinker_path(name: str, value: Any) -> None:
    """``value`` is the path of a checkpoint, ``tinker://...``."""
    if not isinstance(value, str) or not value.startswith("tinker://") or len(value) <= len("tinker://"):
        raise InputError(f"{name} must be a path that starts with 'tinker://', not {value!r}")


def content(name: str, value: Any) -> bytes:
    """``value`` if it is bytes and not empty; the bytes in it if it is base64 text."""
    if isinstance(value, str):
        try:
            value = base64.b64decode(value, validate=True)
        except ValueError as error:
            raise InputError(f"{name} is text but not base64: {error}") from None
    if not isinstance(value, bytes) or not value:
        raise InputError(f"{name} must be bytes, and not empty")
    return value


def pack_tokens(tokens: Sequence[int]) -> bytes:
    """Token ids as little-endian int32, as they travel in proto.

    Raises ``InputError`` if an id is negative, fractional, or 2**31 or more.
    """
    listed = tokens.tolist() if hasattr(tokens, "tolist") else tokens
    try:
        # struct packs a list two to three times as fast as the array module.
        packed = struct.pack(f"<{len(listed)}i", *listed)
    except (TypeError, OverflowError, struct.error) as error:
        raise InputError(f"token ids must be whole numbers from 0 to 2**31 - 1: {error}") from None
    # The top byte of every int32: a sign bit anywhere is a negative id. Far cheaper than min().
    if not packed[3::4].isascii():
        raise InputError(f"token ids must not be negative, got {min(listed)}")
    return packed


def unpack(packed: bytes, typecode: str) -> list[Any]:
    """The numbers in little-endian bytes; ``typecode`` as in the ``array`` module."""
    values = array(typecode)
    values.frombytes(packed)
    if sys.byteorder == "big":
        values.byteswap()
    return values.tolist()
