from __future__ import annotations

import warnings

import pytest

from tinkex import types


def test_the_official_fields_are_accepted_and_warned_about() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        types.RetryConfig(max_connections=3, enable_stuck_detection=False)
    with pytest.warns(UserWarning, match="ignores retry_delay_base, enable_retry_logic") as caught:
        types.RetryConfig(10, retry_delay_base=1.0, enable_retry_logic=False)
    assert caught[0].filename == __file__
