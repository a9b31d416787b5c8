"""Two servers: one that has the key, and another one that has the files."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from clients import config

from tinkex import RestClient
from tinkex.testing import TinkerServer


@pytest.fixture
def store() -> Iterator[TinkerServer]:
    """Where the signed URLs lead: another server than the one that has the key."""
    with TinkerServer() as running:
        yield running


@pytest.fixture
def client(server: TinkerServer) -> Iterator[RestClient]:
    with RestClient(config=config(server, default_headers={"X-Private": "private"})) as running:
        yield running
