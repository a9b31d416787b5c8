"""Parameters of optimizers."""

from __future__ import annotations

import math

import pytest

import tinkex
from tinkex import types


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, "nan", "fast", None])
def test_a_learning_rate_that_is_no_finite_number_is_refused(value: object) -> None:
    with pytest.raises(tinkex.InputError, match="learning_rate"):
        types.AdamParams(learning_rate=value)  # type: ignore[arg-type]
