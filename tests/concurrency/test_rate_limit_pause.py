"""The pause after a 429, which clients with the same server and key share."""

from __future__ import annotations

import gc
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from clients import PARAMS, PROMPT, config, wait_until

import tinkex
from tinkex import Config, ServiceClient
from tinkex.concurrency.rate_limit_pause import Pause, pause_of
from tinkex.testing import Reply, TinkerServer


@pytest.fixture
def many_switches() -> Iterator[None]:
    """Threads that take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def is_shut(gate: Pause) -> bool:
    """Return whether a thread that passed through the gate now would have to wait."""

    def wait(seconds: float) -> None:
        raise TimeoutError

    try:
        gate.pass_through(wait)
    except TimeoutError:
        return True
    return False


def test_an_identity_has_one_gate_and_no_other_has_it() -> None:
    gate = pause_of(("server", "key"))
    assert pause_of(("server", "key")) is gate
    assert pause_of(("server", "another key")) is not gate


def test_a_gate_that_nobody_holds_is_forgotten() -> None:
    gate = pause_of(("server", "key"))
    gate.shut(60)
    watch = weakref.ref(gate)
    del gate
    gc.collect()
    assert watch() is None
    assert not is_shut(pause_of(("server", "key")))


def test_sessions_share_their_gate_and_the_last_one_takes_it_along(server: TinkerServer) -> None:
    one, other = (tinkex.ServiceClient(config=config(server)) for _ in range(2))
    assert one._session.pause is other._session.pause
    watch = weakref.ref(one._session.pause)
    one.close()
    del one
    gc.collect()
    assert watch() is other._session.pause
    other.close()
    del other
    gc.collect()
    assert watch() is None


def test_threads_that_come_at_once_get_the_same_gate(many_switches: None) -> None:
    together = threading.Barrier(8)

    def gates() -> list[Pause]:
        held = []
        for number in range(200):
            together.wait(60)
            held.append(pause_of(("server", number)))
        return held

    with ThreadPoolExecutor(8) as pool:
        everybodys = [future.result(60) for future in [pool.submit(gates) for _ in range(8)]]
    for same in zip(*everybodys, strict=True):
        assert len(set(map(id, same))) == 1


@pytest.mark.usefixtures("nothing_left")
def test_a_pause_holds_only_its_own_identity(server: TinkerServer) -> None:
    configs = [Config(base_url=server.url, api_key=key) for key in ("tml-busy", "tml-free")]
    busy, free = (ServiceClient(config=config, heartbeat_interval=5) for config in configs)
    with busy, free:
        samplers = [client.create_sampling_client(base_model="tinkex/byte-lm") for client in (busy, free)]
        server.once("/asample", Reply(429, {}, {"Retry-After": "4"}))
        held = samplers[0].sample(PROMPT, 1, PARAMS)
        server.requests.wait_for("/asample")
        started = time.monotonic()
        samplers[1].sample(PROMPT, 1, PARAMS).result(60)
        assert time.monotonic() - started < 3.9
        held.result(60)
        assert time.monotonic() - started > 3.9


def test_a_429_pauses_every_sampler_of_that_server_and_key_and_loses_nothing(
    server: TinkerServer, service: tinkex.ServiceClient
) -> None:
    one = service.create_sampling_client(base_model="tinkex/byte-lm")
    with tinkex.ServiceClient(config=config(server)) as other_service:
        other = other_service.create_sampling_client(base_model="tinkex/byte-lm")
        server.once("/asample", Reply(429, {}, {"Retry-After": "1.5"}))  # longer than it would be unasked
        first = one.sample(PROMPT, 1, PARAMS)
        [refused] = server.requests.wait_for("/asample")
        wait_until(lambda: is_shut(one._session.pause))
        second = other.sample(PROMPT, 1, PARAMS)
        assert first.result(60).sequences
        assert second.result(60).sequences
    later = [request for request in server.requests.to("/asample") if request is not refused]
    assert len(later) == 2
    assert all(request.time - refused.time >= 1.49 for request in later)
    again = [request for request in later if request.json() == refused.json()]
    assert len(again) == 1, "the same request is sent again"


def test_another_key_is_not_paused(server: TinkerServer, sampler: tinkex.SamplingClient) -> None:
    server.once("/asample", Reply(429, {}, {"Retry-After": "30"}))
    paused = sampler.sample(PROMPT, 1, PARAMS)
    server.requests.wait_for("/asample")
    with tinkex.ServiceClient(config=config(server, api_key="tml-other")) as service:
        free = service.create_sampling_client(base_model="tinkex/byte-lm")
        assert free.sample(PROMPT, 1, PARAMS).result(60).sequences
    assert not paused.done()
