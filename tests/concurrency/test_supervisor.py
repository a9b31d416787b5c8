"""Creations of clients: in parallel, each on its own, and nothing left of one that fails."""

from __future__ import annotations

import gc
import threading
from concurrent.futures import CancelledError
from typing import Any

import pytest
from clients import PARAMS, PROMPT, TOKENS

import tinkex
from tinkex import ServiceClient
from tinkex.concurrency.executor import DaemonExecutor
from tinkex.errors import (
    NotFoundError,
)
from tinkex.testing import Hang, Reply, TinkerServer

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_creations_run_in_parallel(server: TinkerServer, service: ServiceClient) -> None:
    hang = Hang()
    server.on("/create_model", hang)
    server.on("/create_sampling_session", hang)
    futures: list[Any] = [service.create_lora_training_client_async("tinkex/byte-lm") for _ in range(5)]
    futures += [service.create_sampling_client_async(base_model="tinkex/byte-lm") for _ in range(5)]
    server.requests.wait_for("/create_*model", 5)
    server.requests.wait_for("/create_sampling_session", 5)
    assert not any(future.done() for future in futures)
    hang.release()
    assert len({id(future.result(60)) for future in futures}) == 10


def test_a_child_that_fails_leaves_nothing_and_harms_no_other(
    server: TinkerServer, service: ServiceClient
) -> None:
    good = service.create_sampling_client(base_model="tinkex/byte-lm")
    server.once("/create_model", Reply(404, {"detail": "no such model"}))
    with pytest.raises(NotFoundError, match="no such model"):
        service.create_lora_training_client("nonesuch")
    assert service.clients() == [good]
    assert good.sample(PROMPT, 1, PARAMS).result(60).sequences[0].tokens == TOKENS


def test_children_nobody_uses_drop_out(service: ServiceClient) -> None:
    kept = service.create_sampling_client(base_model="tinkex/byte-lm")
    service.create_sampling_client(base_model="tinkex/byte-lm")
    gc.collect()
    assert service.clients() == [kept]


def test_a_cancelled_creation_leaves_no_client(server: TinkerServer, service: ServiceClient) -> None:
    hang = Hang()
    server.on("/create_sampling_session", hang)
    future = service.create_sampling_client_async(base_model="tinkex/byte-lm")
    server.requests.wait_for("/create_sampling_session")
    assert future.cancel()
    hang.release()
    with pytest.raises(CancelledError):
        future.result()


def test_a_client_that_is_made_after_it_was_given_up_is_closed() -> None:
    class Client:
        def __init__(self) -> None:
            self.closed = threading.Event()

        def close(self) -> None:
            self.closed.set()

    client, begun, go_on = Client(), threading.Event(), threading.Event()

    def make() -> Client:
        begun.set()
        assert go_on.wait(60)
        return client

    executor = DaemonExecutor(1, "children")
    future = tinkex.ClientSupervisor(executor).start_child(make)
    assert begun.wait(60)
    assert future.cancel()
    go_on.set()
    assert client.closed.wait(60)
    executor.shutdown()
