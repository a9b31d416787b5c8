"""Losses of the user's own, traced for the server. More of them in ``with_torch``."""

from __future__ import annotations

import sys

import pytest

import tinkex
from tinkex.testing import TinkerServer


def test_without_torch_a_loss_cannot_be_traced_and_nothing_is_sent(
    server: TinkerServer, service: tinkex.ServiceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("torch", "torch.fx"):
        monkeypatch.setitem(sys.modules, name, None)
    before = len(server.requests)
    with pytest.raises(ImportError, match="pip install torch"):
        service.create_custom_loss(lambda logprobs: (logprobs.sum(), {}), {"logprobs": 1})
    assert len(server.requests) == before
