"""Warnings in the header of an answer, from any server."""

from __future__ import annotations

import warnings

import pytest
from clients import PARAMS, PROMPT, client_of

import tinkex
from tinkex.testing import Reply, TinkerServer


def _caught(server: TinkerServer, header: str) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with client_of(server) as service:
            server.once(
                "/create_sampling_session", Reply(200, {"sampling_session_id": "s"}, {"Warning": header})
            )
            server.on("/asample", {"request_id": "r"})
            server.on("/retrieve_future", {"sequences": [{"tokens": [7], "stop_reason": "length"}]})
            service.create_sampling_client(base_model="tinkex/byte-lm").sample(PROMPT, 1, PARAMS).result(60)
    return [str(each.message) for each in caught if each.category is tinkex.ServerWarning]


@pytest.mark.parametrize(
    ("header", "shown"),
    [
        ('299 tinkex "one"', ["one"]),
        ('299 a "one \\"and\\" \\\\", 299 b "two, three"', ['one "and" \\', "two, three"]),
        ('110 proxy "Response is Stale"', []),
        ("299 broken", []),
        ('299 - "' + "x" * 5000 + '"', ["x" * 2000]),
        ('299 - "the key is tml-test-secret-0123456789"', ["the key is ***"]),
    ],
)
def test_warnings_of_code_299_are_shown(server: TinkerServer, header: str, shown: list[str]) -> None:
    found = _caught(server, header)
    assert len(found) == len(shown)
    assert all("tml-" not in each for each in found)
    if "tml-" not in header:
        assert found == shown
