"""Models: created from nothing and from saved states."""

from __future__ import annotations

from typing import Any

import pytest
from clients import client_of, no_new_worker_threads

from tinkex import ServiceClient
from tinkex.testing import Request, TinkerServer

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_create_from_state_by_one_call(server: TinkerServer, service: ServiceClient, saved: str) -> None:
    service.create_training_client_from_state(saved)
    service.create_training_client_from_state_with_optimizer(saved, weights_access_token="theirs")
    first, second = [request.json() for request in server.requests.to("/load_weights")]
    assert first["path"] == second["path"] == saved
    assert (first["model_seq_id"], first["optimizer"]) == (0, False)
    assert (second["model_seq_id"], second["optimizer"]) == (1, True)
    assert second["weights_access_token"] == "theirs"
    assert "weights_access_token" not in first
    assert not server.requests.to("/create_model")


@pytest.mark.parametrize("refusal", [404, 422])
def test_create_from_state_where_one_call_is_refused(
    server: TinkerServer, service: ServiceClient, saved: str, refusal: int
) -> None:
    def load(request: Request) -> Any:
        return refusal if "model_seq_id" in request.json() else None

    server.on("/load_weights", load)
    training = service.create_training_client_from_state_with_optimizer(saved, weights_access_token="theirs")
    assert server.requests.to("/weights_info")[0].json() == {"tinker_path": saved}
    [made] = server.requests.to("/create_model")
    assert made.json()["model_seq_id"] == 0
    assert made.json()["base_model"] == "tinkex/byte-lm"
    assert made.json()["lora_config"]["rank"] == 8
    loaded = server.requests.to("/load_weights")[-1].json()
    assert loaded["model_id"] == training.model_id
    assert (loaded["path"], loaded["optimizer"], loaded["seq_id"]) == (saved, True, 1)
    assert loaded["weights_access_token"] == "theirs"
    training.optim_step().result(60)
    assert server.requests.to("/optim_step")[0].json()["seq_id"] == 2


def test_a_model_that_the_server_forgot_is_asked_for_again(server: TinkerServer) -> None:
    server.once("/retrieve_future", 410)
    with client_of(server) as service:
        service.create_lora_training_client("tinkex/byte-lm")
    first, again = server.requests.to("/create_model")
    assert first.content == again.content


def test_create_from_state_on_an_older_server_needs_no_second_thread(
    server: TinkerServer, service: ServiceClient, saved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.on("/load_weights", lambda request: 404 if "model_seq_id" in request.json() else None)
    no_new_worker_threads(monkeypatch)
    training = service.create_training_client_from_state(saved)
    assert training.optim_step().result(60) is not None
