"""Checks that the decoders share: a decoder returns a valid value or raises ``APIResponseValidationError``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

from tinkex.errors import APIResponseValidationError

Given = TypeVar("Given")
Read = TypeVar("Read")

_MOST_DIMENSIONS = 64
_LARGEST = 2**31
_LARGEST_EMPTY = 2**20
"""The largest extent of an empty tensor, such as one of shape ``[n, 0]``, which no bytes limit."""


def decode(what: str, reader: Callable[[Given], Read], given: Given, body: object = None) -> Read:
    """Return ``reader(given)``. Any error in it becomes an ``APIResponseValidationError`` with ``body``.

    A reader only computes, so an error in it means that the server sent something that is not valid.
    """
    try:
        return reader(given)
    except APIResponseValidationError:
        raise
    except Exception as error:
        problem = f"no field {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
    # This is raised outside the handler, because the first error may contain the whole content of the answer.
    raise APIResponseValidationError(f"the server's answer is no {what}: {problem[:300]}", body=body)


# The checks below run over every token of a result, so they use functions whose loops are in C.


def check_tokens(name: str, packed: bytes) -> None:
    """Raise ``ValueError`` if one of the little-endian int32 in ``packed`` is negative."""
    # The top bit of every fourth byte is a sign, and bytes with it are not ASCII.
    if not packed[3::4].isascii():
        raise ValueError(f"{name} must not be negative")


def check_logprobs(name: str, values: Sequence[float]) -> None:
    """Raise ``ValueError`` if one of ``values`` is NaN."""
    # The sum is NaN if a value is, but also if the values contain opposite infinities.
    if math.isnan(sum(values)) and any(map(math.isnan, values)):
        raise ValueError(f"{name} must be numbers, not NaN")


def matching_logprobs(tokens: Sequence[int], logprobs: list[float]) -> list[float] | None:
    """Return ``logprobs``, which must be as many as ``tokens``, or None if the list is empty."""
    if len(logprobs) == len(tokens):
        return logprobs
    if logprobs:
        raise ValueError(f"{len(logprobs)} logprobs for {len(tokens)} tokens")
    return None


def check_shape(shape: Sequence[int]) -> None:
    """Raise ``ValueError`` if no tensor has this shape."""
    if len(shape) > _MOST_DIMENSIONS:
        raise ValueError(f"a tensor has at most {_MOST_DIMENSIONS} dimensions, not {len(shape)}")
    if any(size < 0 for size in shape) or _extent(shape) > _LARGEST:
        raise ValueError(f"no tensor has the shape {list(shape)}")


def check_count(shape: Sequence[int], count: int) -> None:
    """Raise ``ValueError`` unless ``count`` values fill a dense tensor of this shape."""
    check_shape(shape)
    if math.prod(shape) != count or (not count and _extent(shape) > _LARGEST_EMPTY):
        raise ValueError(f"{count} values do not fill a tensor of shape {list(shape)}")


def _extent(shape: Sequence[int]) -> int:
    """Return the product of the sizes other than 0, which bounds the loops over an empty tensor."""
    return math.prod(size or 1 for size in shape)
