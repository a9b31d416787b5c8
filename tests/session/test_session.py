"""A session: it starts whole, numbers what is made in it, and ends once, quickly, with all that is pending."""

from __future__ import annotations

import gc
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from clients import DATUM, FINISH, PARAMS, PROMPT, client_of, own_threads, wait_until

from tinkex import APIFuture, Config, ServiceClient, SessionManager, service_client, types
from tinkex.errors import (
    APIConnectionError,
    APIStatusError,
    ClientClosedError,
    TinkerError,
)
from tinkex.testing import Hang, Reset, TinkerServer

pytestmark = pytest.mark.usefixtures("nothing_left")


@pytest.mark.parametrize("path", ["/client/config", "/create_session"])
@pytest.mark.parametrize("reply", [401, 422, 500, Reset()])
def test_a_start_that_fails_leaves_nothing(server: TinkerServer, path: str, reply: int | Reset) -> None:
    server.on(path, reply)
    with pytest.raises((APIStatusError, APIConnectionError)):
        client_of(server)


def test_numbers_are_gapless_and_unique_with_64_threads(server: TinkerServer, service: ServiceClient) -> None:
    with ThreadPoolExecutor(64) as pool:
        models = [pool.submit(service.create_lora_training_client, "tinkex/byte-lm") for _ in range(64)]
        samplers = [
            pool.submit(service.create_sampling_client, base_model="tinkex/byte-lm") for _ in range(64)
        ]
        trainers = [one.result() for one in models]
        clients = {id(one) for one in trainers} | {id(one.result()) for one in samplers}
    numbers = [request.json()["model_seq_id"] for request in server.requests.to("/create_model")]
    assert sorted(numbers) == list(range(64))
    created = server.requests.to("/create_sampling_session")
    assert sorted(request.json()["sampling_session_seq_id"] for request in created) == list(range(64))
    assert len({trainer.model_id for trainer in trainers}) == 64
    assert {id(client) for client in service.clients()} == clients


def test_close_finishes_once_and_everything_is_over(server: TinkerServer) -> None:
    service = client_of(server)
    training = service.create_lora_training_client("tinkex/byte-lm")
    sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
    service.close("errored", "ran out of patience")
    service.close()
    [finish] = server.requests.to(FINISH)
    assert finish.path.endswith(f"/sessions/{service.session_id}/finish")
    assert finish.json() == {"reason": {"type": "errored"}, "detail": "ran out of patience"}
    for use in (
        service.get_server_capabilities,
        training.optim_step,
        lambda: sampler.sample(PROMPT, 1, PARAMS),
        service.__enter__,
    ):
        with pytest.raises(ClientClosedError):
            use()


def test_close_beats_no_more(server: TinkerServer) -> None:
    service = client_of(server, heartbeat_interval=0.02)
    server.requests.wait_for("/session_heartbeat", 2)
    service.close()
    count = len(server.requests.to("/session_heartbeat"))
    time.sleep(0.15)  # seven more would have been due, and only time can tell that none comes
    assert len(server.requests.to("/session_heartbeat")) == count


def test_close_is_quick_and_resolves_all_that_is_pending(
    server: TinkerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With long polls, a creation, a beat and the finish itself all hanging, and more queued than may run."""
    monkeypatch.setattr(service_client, "CLOSE_SECONDS", 4.0)
    before = own_threads()
    service = client_of(server, heartbeat_interval=0.05)
    training = service.create_lora_training_client("tinkex/byte-lm")
    sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
    narrow = service.create_sampling_client(
        base_model="tinkex/byte-lm", retry_config=types.RetryConfig(max_connections=2)
    )
    for path in ("/retrieve_future", "/create_sampling_session", FINISH, "/session_heartbeat"):
        server.on(path, Hang())
    pending: list[Any] = [training.optim_step() for _ in range(20)]
    pending += [sampler.sample(PROMPT, 1, PARAMS) for _ in range(20)]
    pending += [narrow.sample(PROMPT, 1, PARAMS) for _ in range(20)]
    pending.append(service.create_sampling_client_async(base_model="tinkex/byte-lm"))
    server.requests.wait_for("/retrieve_future", 30)
    server.requests.wait_for("/session_heartbeat", 1)
    server.requests.wait_for("/create_sampling_session", 1)
    started = time.monotonic()
    service.close()
    assert time.monotonic() - started < 20  # and not the minute that a request is given
    for thread in own_threads() - before:
        thread.join(60)
    assert not own_threads() - before
    for future in pending:
        with pytest.raises(TinkerError):
            future.result(60)


def test_close_from_many_threads_at_once(server: TinkerServer) -> None:
    service = client_of(server)
    with ThreadPoolExecutor(16) as pool:
        for done in [pool.submit(service.close) for _ in range(16)]:
            done.result(60)
    assert len(server.requests.to(FINISH)) == 1


def test_a_server_without_finish_is_fine(server: TinkerServer) -> None:
    server.on(FINISH, 404)
    client_of(server).close()


def test_a_client_that_is_garbage_stops_beating(server: TinkerServer) -> None:
    with SessionManager(0.05) as manager:
        config = Config(base_url=server.url, api_key="tml-test")
        service = ServiceClient(config=config, session_manager=manager)
        sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
        server.requests.wait_for("/session_heartbeat", 2)
        del service
        gc.collect()
        # A child in use keeps the session.
        server.requests.wait_for("/session_heartbeat", len(server.requests.to("/session_heartbeat")) + 2)
        sampler.sample(PROMPT, 1, PARAMS).result(60)
        del sampler
        gc.collect()
        server.wait_for_connections(0)
        wait_until(lambda: not manager.sessions())


def test_garbage_that_is_collected_under_a_lock_does_no_harm(server: TinkerServer) -> None:
    """Clients in reference cycles go whenever the collector runs, in whichever thread that is."""
    config = Config(base_url=server.url, api_key="tml-test")
    old = gc.get_threshold()
    gc.set_threshold(20, 1, 1)
    try:
        with SessionManager(0.01) as manager:

            def churn() -> None:
                for _ in range(25):
                    service: Any = ServiceClient(config=config, session_manager=manager)
                    service.itself = service

            with ThreadPoolExecutor(4) as pool:
                for done in [pool.submit(churn) for _ in range(4)]:
                    done.result(60)
            gc.collect()
            server.wait_for_connections(0)
            wait_until(lambda: not manager.sessions())
    finally:
        gc.set_threshold(*old)


@pytest.mark.parametrize("keep", [False, True])
def test_a_session_ends_with_the_last_client_in_use(server: TinkerServer, keep: bool) -> None:
    manager = SessionManager(5)
    service = ServiceClient(config=Config(base_url=server.url, api_key="tml-a"), session_manager=manager)
    gc.collect()
    gc.disable()
    try:
        training = service.create_lora_training_client("tinkex/byte-lm")
        done: list[APIFuture[Any]] = [training.save_state("a"), training.optim_step()]
        done.append(training.forward([DATUM], "cross_entropy"))
        done.append(service.create_sampling_client(base_model="tinkex/byte-lm").sample(PROMPT, 1, PARAMS))
        for future in done:
            future.result(60)
        if not keep:
            done.clear()
        del service, training, future
        wait_until(lambda: not manager.sessions())
    finally:
        gc.enable()
        manager.close()
