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


def whole(name: str, value: Any, *, at_least: int) -> int:
    """Return ``value`` as an int. It is a whole number of ``at_least`` or more that fits into 64 bits, and no bool."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise InputError(f"{name} must be a whole number, not {value!r}")
    try:
        number = int(value)
    except TypeError:  # an array of several numbers
        raise InputError(f"{name} must be a whole number, not {value!r}") from None
    if number < at_least:
        raise InputError(f"{name} must be {at_least} or more, not {value!r}")
    if number > LARGEST:
        raise InputError(f"{name} must be {LARGEST} or less")
    return number


def integral(name: str, value: Any, *, at_least: int) -> int:
    """Return ``value`` as an int. It is as ``whole`` takes it, a float without a fraction such as 4.0, or such text."""
    number = _read_number(name, value) if isinstance(value, str) else value
    if hasattr(number, "__float__") and not hasattr(number, "__index__") and float(number).is_integer():
        number = int(float(number))
    return whole(name, number, at_least=at_least)


def finite(name: str, value: Any, *, at_least: float = 0.0, at_most: float = math.inf) -> float:
    """Return ``value`` as a float. It is a finite number from ``at_least`` to ``at_most``, both included, or its text.

    Files of settings have numbers as text: YAML reads ``1e-4`` as one.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be a number, not {value!r}") from None
    except OverflowError:
        raise InputError(f"{name} must be a finite number, not a larger one than any float") from None
    if not math.isfinite(number):
        raise InputError(f"{name} must be a finite number, not {value!r}")
    if not at_least <= number <= at_most:
        raise InputError(f"{name} must lie between {at_least:g} and {at_most:g}, not {value!r}")
    return number


def _read_number(name: str, text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return finite(name, text, at_least=-math.inf)


def tag(data: Any, given: object) -> None:
    """Check that ``given`` is the ``type`` of the class of ``data``."""
    wanted = type(data).__dataclass_fields__["type"].default
    if given != wanted:
        raise InputError(f"the type of {type(data).__name__} is {wanted!r}, not {given!r}")


def tinker_path(name: str, value: Any) -> None:
    """Check that ``value`` is the path of a checkpoint, ``tinker://...``."""
    if not isinstance(value, str) or not value.startswith("tinker://") or len(value) <= len("tinker://"):
        raise InputError(f"{name} must be a path that starts with 'tinker://', not {value!r}")


def content(name: str, value: Any) -> bytes:
    """Return the bytes of ``value``, which is bytes, a bytearray or base64 text, and not empty."""
    if isinstance(value, str):
        try:
            value = base64.b64decode(value, validate=True)
        except ValueError as error:
            raise InputError(f"{name} is text but not base64: {error}") from None
    if not isinstance(value, (bytes, bytearray)) or not value:
        raise InputError(f"{name} must be bytes, and not empty")
    return bytes(value)


def pack_tokens(tokens: Sequence[int]) -> bytes:
    """Return token ids as little-endian int32, which is how proto messages contain them.

    Raises ``InputError`` if an id is negative, fractional, or 2**31 or more.
    """
    if hasattr(tokens, "__array_interface__"):  # a numpy array, of which no list is made
        return _pack_token_array(tokens)
    listed = tokens.tolist() if hasattr(tokens, "tolist") else tokens
    try:
        # struct packs a list two to three times as fast as the array module.
        packed = struct.pack(f"<{len(listed)}i", *listed)
    except (TypeError, OverflowError, struct.error) as error:
        if isinstance(listed, Sequence) and not isinstance(listed, str) and any(map(_is_float, listed)):
            return pack_tokens([integral("one of the token ids", one, at_least=0) for one in listed])
        raise InputError(f"{_TOKENS}: {error}") from None
    # The top bit of every fourth byte is a sign, and bytes with it are not ASCII. This is far cheaper than min().
    if not packed[3::4].isascii():
        raise InputError(f"token ids must not be negative, got {min(listed)}")
    return packed


def _pack_token_array(tokens: Any) -> bytes:
    if tokens.ndim != 1 or tokens.dtype.kind not in "iuf":
        raise InputError(f"{_TOKENS}, in one dimension, not {tokens.dtype} of shape {tokens.shape}")
    if not tokens.size:
        return b""
    if not 0 <= tokens.min() <= tokens.max() < 2**31 or (tokens.dtype.kind == "f" and (tokens % 1).any()):
        raise InputError(f"{_TOKENS}, but the array has others")
    packed: bytes = tokens.astype("<i4").tobytes()
    return packed


_TOKENS = "token ids must be whole numbers from 0 to 2**31 - 1"


def _is_float(value: object) -> bool:
    return isinstance(value, float) or (not hasattr(value, "__index__") and hasattr(value, "__float__"))


def unpack(packed: bytes, typecode: str) -> list[Any]:
    """Return the numbers in little-endian bytes. ``typecode`` is that of the ``array`` module."""
    values = array(typecode)
    values.frombytes(packed)
    if sys.byteorder == "big":
        values.byteswap()
    return values.tolist()
