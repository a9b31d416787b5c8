"""Prompts: what they take, what they refuse, and what they keep."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinkex
from tinkex import types


@given(st.lists(st.integers(0, 2**31 - 1)))
def test_tokens_come_back_as_they_went_in(tokens: list[int]) -> None:
    prompt = types.ModelInput.from_ints(tokens)
    assert prompt.to_ints() == tokens
    assert prompt.length == len(tokens)
    [chunk] = prompt.chunks
    assert isinstance(chunk, types.EncodedTextChunk)
    assert np.frombuffer(chunk.packed, dtype="<i4").tolist() == tokens


@pytest.mark.parametrize(
    "bad",
    [
        [-1],
        [1.5],
        [3, 2.5],
        [np.nan],
        np.array([-1]),
        np.array([1.5]),
        np.array([2**31]),
        np.array([[1]]),
        ["a"],
        [None],
        [2**31],
        [[1]],
        5,
    ],
)
def test_token_ids_that_are_not_whole_and_positive_are_refused(bad: object) -> None:
    with pytest.raises(tinkex.InputError, match="token ids"):
        types.ModelInput.from_ints(bad)  # type: ignore[arg-type]


def test_a_list_changed_later_does_not_change_what_is_sent() -> None:
    tokens = [1, 2, 3]
    chunk = types.EncodedTextChunk(tokens)
    tokens.append(4)
    assert chunk.length == 3


def test_images_are_bytes_or_base64() -> None:
    assert types.ImageChunk("aGk=", "png").data == b"hi"  # type: ignore[arg-type]
    file: Any = bytearray(b"hi")
    image = types.ImageChunk(file, "png")
    file.clear()
    assert image.data == b"hi"
    assert types.ImageChunk(b"hi", "jpeg", expected_tokens=7).length == 7
    with pytest.raises(tinkex.InputError, match="base64"):
        types.ImageChunk("not base64!", "png")  # type: ignore[arg-type]
    with pytest.raises(tinkex.InputError, match="format"):
        types.ImageChunk(b"hi", "gif")  # type: ignore[arg-type]
