"""Tensors: what they take, what they refuse, and what they keep."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinkex
from tinkex import types

INT64 = st.integers(-(2**63), 2**63 - 1)


FLOAT32 = st.floats(width=32, allow_nan=False)


@given(st.lists(INT64))
def test_int64_lists_survive(values: list[int]) -> None:
    tensor = types.TensorData(values, "int64")
    assert tensor.data == values
    assert tensor.shape == [len(values)]


@given(st.lists(FLOAT32))
def test_float32_lists_survive(values: list[float]) -> None:
    assert types.TensorData(values, "float32").data == values


@given(st.integers(1, 4), st.integers(1, 5), st.data())
def test_nested_lists_keep_their_shape(rows: int, columns: int, data: st.DataObject) -> None:
    nested = data.draw(
        st.lists(st.lists(INT64, min_size=columns, max_size=columns), min_size=rows, max_size=rows)
    )
    tensor = types.TensorData(nested)
    assert (tensor.dtype, tensor.shape) == ("int64", [rows, columns])
    assert tensor.tolist() == nested
    assert tensor.to_numpy().tolist() == nested


def test_a_sparse_tensor_is_what_it_was_dense() -> None:
    tensor = types.TensorData(
        [5.0, 7.0], "float32", [2, 3], sparse_crow_indices=[0, 1, 2], sparse_col_indices=[2, 0]
    )
    assert tensor.tolist() == [[0.0, 0.0, 5.0], [7.0, 0.0, 0.0]]
    assert tensor.tolist(pad_value=-1) == [[-1.0, -1.0, 5.0], [7.0, -1.0, -1.0]]
    assert tensor.to_numpy().shape == (2, 3)


@pytest.mark.parametrize(
    ("crow", "col", "shape"),
    [
        ([0, 1], [2, 0], [2, 3]),
        ([0, 1, 2], [3, 0], [2, 3]),
        ([0, 2, 1], [0, 0], [2, 3]),
        ([0, 1, 2], [0, 0], None),
    ],
)
def test_sparse_indices_that_do_not_fit_are_refused(
    crow: list[int], col: list[int], shape: list[int]
) -> None:
    with pytest.raises(tinkex.InputError):
        types.TensorData([5.0, 7.0], "float32", shape, crow, col)
