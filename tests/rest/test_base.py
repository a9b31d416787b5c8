"""What the administration clients share: a connection of their own or a service's, and async twins."""

from __future__ import annotations

import asyncio
import threading

import pytest
from clients import config
from listings import RUN, training_run

import tinkex
from tinkex import RestClient, types
from tinkex.testing import Hang, TinkerServer


def test_async_twins(client: RestClient, server: TinkerServer) -> None:
    server.on("/training_runs/*", training_run())
    server.on("/checkpoints", {"checkpoints": []})

    async def main() -> tuple[types.TrainingRun, types.CheckpointsListResponse, types.TrainingRun]:
        one, listed, same = await asyncio.gather(
            client.get_training_run_async(training_run_id=RUN, access_scope="accessible"),
            client.list_user_checkpoints_async(limit=3),
            client.get_training_run(RUN),
        )
        return one, listed, same

    first, listed, second = asyncio.run(main())
    assert first == second
    assert listed.checkpoints == []
    assert RestClient.get_training_run_async.__name__ == "get_training_run_async"


def test_it_stands_alone_without_a_session(server: TinkerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKER_API_KEY", "tml-of-the-environment")
    with RestClient(base_url=server.url) as client:
        assert client.get_server_capabilities().result(60).supported_models[0].model_name == "tinkex/byte-lm"
        server.on("/sessions", Hang())
        hanging = client.list_sessions()
        server.requests.wait_for("/sessions")
    with pytest.raises(tinkex.ClientClosedError):
        hanging.result(60)
    with pytest.raises(tinkex.ClientClosedError):
        client.list_sessions()
    server.wait_for_connections(0)
    assert server.requests.to("/create_session") == []
    assert {request.secrets["x-api-key"] for request in server.requests} == {"tml-of-the-environment"}


def test_it_shares_the_connection_of_a_service(server: TinkerServer) -> None:
    with tinkex.ServiceClient(config=config(server)) as service:
        before = threading.active_count()
        client = service.create_rest_client()
        assert client.result() is client
        assert service.clients() == [client]
        client.get_server_capabilities().result(60)
        assert threading.active_count() <= before + 1
        client.close()
        with pytest.raises(tinkex.ClientClosedError):
            client.list_sessions()
        another = service.create_rest_client_async().result(60)
        another.get_server_capabilities().result(60)
    with pytest.raises(tinkex.ClientClosedError):
        another.list_sessions()
