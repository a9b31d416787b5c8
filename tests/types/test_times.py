"""Times as servers write them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from listings import NOON, checkpoint

from tinkex import RestClient, types
from tinkex.testing import TinkerServer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-02T12:00:00Z", NOON),
        ("2026-01-02 12:00", NOON),
        ("2026-01-02T12:00:00.1234567+00:00", NOON + timedelta(microseconds=123456)),
        ("2026-01-02T14:00:00.0+0200", NOON),
        (NOON.timestamp(), NOON),
    ],
)
def test_times_of_every_server(
    client: RestClient, server: TinkerServer, text: Any, expected: datetime
) -> None:
    server.on("/checkpoints", {"checkpoints": [checkpoint(time=text)]})
    found = client.list_user_checkpoints().result(60).checkpoints[0]
    assert found.time == expected
    assert types.Checkpoint.from_dict(found.to_dict()) == found
