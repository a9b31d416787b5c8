"""Strategies for JSON: any value at all, and valid answers that something was done to."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

ODD: list[Any] = [
    None, True, False, 0, -1, 1.5, -0.0, float("nan"), float("inf"), -float("inf"), 1e308, 2**31, 2**63, -(2**63),
    10**400, "", "7", "nan", "\ud800", "x" * 300, [], [[]], [None], [1, "2"], {}, {"type": "x"}, {"": []},
]  # fmt: skip
"""What a careless or hostile server may put in the place of a value."""

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(ODD)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def damaged(draw: st.DrawFn, *valid: Any) -> Any:
    """One of the ``valid`` values in which up to three places hold another value, or none."""
    value = [copy.deepcopy(draw(st.sampled_from(valid)))]
    for _ in range(draw(st.integers(0, 3))):
        container, key = draw(st.sampled_from(_places(value)))
        if draw(st.booleans()):
            # A copy, lest the next damage be done to what is drawn from.
            container[key] = copy.deepcopy(draw(VALUES))
        elif container is not value:
            del container[key]
    return value[0]


def _places(value: Any) -> list[tuple[Any, Any]]:
    keys: list[Any] = []
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list):
        keys = list(range(len(value)))
    return [(value, key) for key in keys] + [place for key in keys for place in _places(value[key])]
