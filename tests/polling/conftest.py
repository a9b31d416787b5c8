"""Pauses between polls are short here."""

from __future__ import annotations

import pytest

from tinkex.polling import backoff


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "BACKOFF_FIRST", 0.01)
    monkeypatch.setattr(backoff, "BACKOFF_LONGEST", 0.05)
    monkeypatch.setattr(backoff, "BILLING_PAUSE", 0.02)
