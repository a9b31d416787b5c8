"""Checks that several types share. Each of them raises ``InputError``, which names the argument."""

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
    """Check that ``value`` is a whole number of ``at_least`` or more that fits into 64 bits, and not a bool."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise InputError(f"{name} must be a whole number, not {value!r}")
    if value < at_least:
        raise InputError(f"{name} must be {at_least} or more, not {value!r}")
    if value > LARGEST:
        raise InputError(f"{name} must be {LARGEST} or less")


def finite(name: str, value: Any, *, at_least: float = 0.0, at_most: float = math.inf) -> None:
    """Check that ``value`` is a finite number from ``at_least`` to ``at_most``, both included."""
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
    """Check that ``value`` is the path of a checkpoint, ``tinker://...``."""
    if not isinstance(value, str) or not value.startswith("tinker://") or len(value) <= len("tinker://"):
        raise InputError(f"{name} must be a path that starts with 'tinker://', not {value!r}")


def content(name: str, value: Any) -> bytes:
    """Return the bytes of ``value``, which is bytes or base64 text, and not empty."""
    if isinstance(value, str):
        try:
            value = base64.b64decode(value, validate=True)
        except ValueError as error:
            raise InputError(f"{name} is text but not base64: {error}") from None
    if not isinstance(value, bytes) or not value:
        raise InputError(f"{name} must be bytes, and not empty")
    return value


def pack_tokens(tokens: Sequence[int]) -> bytes:
    """Return token ids as little-endian int32, which is how proto messages contain them.

    Raises ``InputError`` if an id is negative, fractional, or 2**31 or more.
    """
    listed = tokens.tolist() if hasattr(tokens, "tolist") else tokens
    try:
        # struct packs a list two to three times as fast as the array module.
        packed = struct.pack(f"<{len(listed)}i", *listed)
    except (TypeError, OverflowError, struct.error) as error:
        raise InputError(f"token ids must be whole numbers from 0 to 2**31 - 1: {error}") from None
    # The top bit of every fourth byte is a sign, and bytes with it are not ASCII. This is far cheaper than min().
    if not packed[3::4].isascii():
        raise InputError(f"token ids must not be negative, got {min(listed)}")
    return packed


def unpack(packed: bytes, typecode: str) -> list[Any]:
    """Return the numbers in little-endian bytes. ``typecode`` is that of the ``array`` module."""
    values = array(typecode)
    values.frombytes(packed)
    if sys.byteorder == "big":
        values.byteswap()
    return values.tolist()
