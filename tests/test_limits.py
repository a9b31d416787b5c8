"""Limits that threads share: which gate is whose, and for how long."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from clients import config
from servers import ScriptedServer

import tinkex
from tinkex.concurrency.limits import Pause, pause_of


@pytest.fixture
def many_switches() -> Iterator[None]:
    """Threads that take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


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
    assert not pause_of(("server", "key")).is_shut


def test_sessions_share_their_gate_and_the_last_one_takes_it_along(server: ScriptedServer) -> None:
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
            together.wait(10)
            held.append(pause_of(("server", number)))
        return held

    with ThreadPoolExecutor(8) as pool:
        everybodys = [future.result(30) for future in [pool.submit(gates) for _ in range(8)]]
    for same in zip(*everybodys, strict=True):
        assert len(set(map(id, same))) == 1
