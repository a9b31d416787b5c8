"""What all tests share: a clean environment, and a server of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from servers import ScriptedServer


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No setting of whoever runs the tests, and no proxy between a test and its server."""
    for name in list(os.environ):
        if name.startswith(("TINKER_", "CLOUDFLARE_ACCESS_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TINKER_TELEMETRY", "0")
    for name in ("HOME", "USERPROFILE"):  # where a login may be stored
        monkeypatch.setenv(name, str(tmp_path_factory.getbasetemp()))


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """A server that does as it should until told otherwise."""
    with ScriptedServer() as running:
        yield running
