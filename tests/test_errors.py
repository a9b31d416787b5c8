"""Errors keep their category, and survive pickling."""

from __future__ import annotations

import tinkex
from tinkex import types


def test_a_category_is_its_text_and_an_unknown_one_is_unknown() -> None:
    error = tinkex.RequestFailedError("m", "r", "server")
    assert error.category is types.RequestErrorCategory.Server
    assert (error.category, f"{error.category}", str(error.category)) == ("server",) * 3
    assert tinkex.RequestFailedError("m", "r", "cosmic rays").category == "unknown"


def test_errors_survive_pickling() -> None:
    import pickle

    error = tinkex.NotFoundError(
        "gone", status_code=404, body={"detail": "x"}, headers={"X-Request-Id": "r1"}
    )
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.status_code, copy.request_id) == (
        tinkex.NotFoundError,
        "gone",
        404,
        "r1",
    )
