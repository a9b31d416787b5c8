"""Data for training: dtypes by name, and every holder of numbers."""

from __future__ import annotations

from array import array

import numpy as np
import pytest

import tinkex
from tinkex import types


def test_the_dtype_of_a_list_follows_from_its_name() -> None:
    datum = types.Datum(
        types.ModelInput.from_ints([1]), {"target_tokens": [1], "weights": [1], "mine": [1], "other": [1.5]}
    )
    dtypes = {name: tensor.dtype for name, tensor in datum.loss_fn_inputs.items()}
    assert dtypes == {"target_tokens": "int64", "weights": "float32", "mine": "int64", "other": "float32"}


@pytest.mark.parametrize(
    "same",
    [
        [1, 2, 3],
        (1, 2, 3),
        array("i", [1, 2, 3]),
        np.array([1, 2, 3], dtype=np.int32),
        np.array([1, 2, 3], dtype=np.uint8),
        np.array([1.0, 2.0, 3.0]),
        np.array([[9, 1], [9, 2], [9, 3]])[:, 1],
    ],
    ids=lambda value: f"{type(value).__name__}-{getattr(value, 'dtype', '')}",
)
def test_every_holder_of_numbers_is_taken(same: object) -> None:
    datum = types.Datum(types.ModelInput.from_ints([1, 2, 3]), {"target_tokens": same})
    assert datum.loss_fn_inputs["target_tokens"].data == [1, 2, 3]


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("target_tokens", [1, 2.5]),
        ("target_tokens", np.array([1.5])),
        ("target_tokens", [[1, 2], [3]]),
        ("target_tokens", [1, [2]]),
        ("target_tokens", [2**63]),
        ("target_tokens", ["1"]),
        ("weights", [1.0, None]),
        ("weights", [[1.0], 2.0]),
        ("weights", np.array(["a"])),
        ("weights", "text"),
        ("weights", types.TensorData([2**24 + 1], "int64")),
    ],
)
def test_lossy_ragged_and_mistyped_tensors_are_refused_by_name(name: str, bad: object) -> None:
    with pytest.raises(tinkex.InputError, match=name):
        types.Datum(types.ModelInput.from_ints([1]), {name: bad})
