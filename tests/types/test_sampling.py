"""Parameters of samples."""

from __future__ import annotations

import math

import pytest

import tinkex
from tinkex import types


@pytest.mark.parametrize(
    "bad",
    [
        {"max_tokens": 0},
        {"max_tokens": 1.5},
        {"temperature": -1},
        {"temperature": math.nan},
        {"top_p": 1.5},
        {"top_k": -2},
        {"seed": 0.5},
        {"stop": ["a", 1]},
        {"stop": [-1]},
    ],
)
def test_sampling_params_out_of_range_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(tinkex.InputError):
        types.SamplingParams(**bad)  # type: ignore[arg-type]
