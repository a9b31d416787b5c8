"""Addresses to look at: of the hosted service's console, or of what another server's API tells."""

from __future__ import annotations

import pytest
import requests
from clients import config

import tinkex
from tinkex import types
from tinkex.testing import TinkerServer
from tinkex.types import console

HOSTED = "https://tinker.thinkingmachines.dev/services/tinker-prod"
CONSOLE = "https://tinker.thinkingmachines.ai"


@pytest.mark.parametrize(
    ("base_url", "start"),
    [
        (HOSTED, CONSOLE),
        ("https://thinkingmachines.ai", CONSOLE),
        ("https://notthinkingmachines.dev", "https://notthinkingmachines.dev/api/v1"),
        ("http://127.0.0.1:8000/base", "http://127.0.0.1:8000/base/api/v1"),
    ],
)
def test_only_the_hosted_service_has_a_console(base_url: str, start: str) -> None:
    assert console.page(base_url, "training_runs", "s:train:0") == f"{start}/training_runs/s:train:0"


def test_elsewhere_the_api_tells_of_sessions_and_runs(server: TinkerServer) -> None:
    with tinkex.ServiceClient(config=config(server)) as service:
        training = service.create_lora_training_client("tinkex/byte-lm")
        assert service.get_console_url() == f"{server.url}/api/v1/sessions/{service.session_id}"
        assert training.get_console_url() == f"{server.url}/api/v1/training_runs/{training.model_id}"
        for url in (service.get_console_url(), training.get_console_url()):
            assert requests.get(url, timeout=60).status_code == 200
    assert server.requests.to(f"/training_runs/{training.model_id}")


def test_saved_weights_have_pages() -> None:
    saved = types.SaveWeightsForSamplerResponse("tinker://s:train:0/sampler_weights/a b")
    page = f"{CONSOLE}/checkpoints/s%3Atrain%3A0/sampler_weights%2Fa%20b"
    assert saved.get_console_url() == page
    assert saved.get_playground_url() == (
        f"{CONSOLE}/playground?mode=checkpoint&"
        "checkpoint=tinker%3A%2F%2Fs%3Atrain%3A0%2Fsampler_weights%2Fa%20b"
    )
    state = types.SaveWeightsResponse("tinker://run/weights/x")
    assert state.get_console_url() == f"{CONSOLE}/checkpoints/run/weights%2Fx"
    with pytest.raises(tinkex.InputError):
        types.SaveWeightsResponse("elsewhere").get_console_url()
