"""What all decoders share: each gives a value of the promised type or raises ``APIResponseValidationError``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

from tinkex.errors import APIResponseValidationError

Given = TypeVar("Given")
Read = TypeVar("Read")

_MOST_DIMENSIONS = 64


def decode(what: str, reader: Callable[[Given], Read], given: Given, body: object = None) -> Read:
    """``reader(given)``; whatever it raises becomes an ``APIResponseValidationError``, which keeps ``body``.

    Readers only compute, so an exception in one means that the server sent what does not belong there.
    """
    try:
        return reader(given)
    except APIResponseValidationError:
        raise
    except Exception as error:
        problem = f"no field {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
    # Raised here and not in the handler: the first error may hold the whole content, and would be carried along.
    raise APIResponseValidationError(f"the server's answer is no {what}: {problem[:300]}", body=body)


# The checks below run over every token of a result, so they leave the loops to C.


def check_tokens(name: str, packed: bytes) -> None:
    """Raise ``ValueError`` if one of the little-endian int32 in ``packed`` is negative."""
    # The top byte of each holds its sign bit, and ASCII has none.
    if not packed[3::4].isascii():
        raise ValueError(f"{name} must not be negative")


def check_logprobs(name: str, values: Sequence[float]) -> None:
    """Raise ``ValueError`` if one of ``values`` is NaN."""
    # A sum shows it at once; but that of opposite infinities is NaN too.
    if math.isnan(sum(values)) and any(map(math.isnan, values)):
        raise ValueError(f"{name} must be numbers, not NaN")


def matching_logprobs(tokens: Sequence[int], logprobs: list[float]) -> list[float] | None:
    """``logprobs`` if there is one for each of ``tokens``; None if there are none, as some servers say it."""
    if len(logprobs) == len(tokens):
        return logprobs
    if logprobs:
        raise ValueError(f"{len(logprobs)} logprobs for {len(tokens)} tokens")
    return None


def check_shape(shape: Sequence[int]) -> None:
    """Raise ``ValueError`` if no tensor has this shape."""
    if len(shape) > _MOST_DIMENSIONS:
        raise ValueError(f"a tensor has at most {_MOST_DIMENSIONS} dimensions, not {len(shape)}")
    if any(size < 0 for size in shape):
        raise ValueError(f"the shape {list(shape)} has a negative size")


def check_count(shape: Sequence[int], count: int) -> None:
    """Raise ``ValueError`` unless ``count`` values fill a dense tensor of this shape."""
    check_shape(shape)
    if math.prod(shape) != count:
        raise ValueError(f"{count} values do not fill a tensor of shape {list(shape)}")
