"""Periodic tasks, seen as heartbeats: in time, without drift, and none held up by another."""

from __future__ import annotations

import itertools
import threading
import time

import pytest
from clients import BEAT, config, own_threads
from programs import start_python

from tinkex import Config, SessionManager, metrics
from tinkex.api.connect import connect
from tinkex.testing import Hang, Reply, TinkerServer


def heartbeat_threads() -> list[str]:
    return [thread.name for thread in own_threads() if thread.name.startswith("tinkex-heartbeat")]


def test_beats_begin_one_interval_after_the_start_and_do_not_drift(server: TinkerServer) -> None:
    server.on(BEAT, Reply(delay=0.3))
    with SessionManager(0.5) as manager:
        starts = time.monotonic()
        session_id = manager.start_session(config(server))
        started = time.monotonic()
        beats = server.requests.wait_for(BEAT, 6)
    assert beats[0].json() == {"type": "session_heartbeat", "session_id": session_id}
    assert beats[0].time - starts > 0.45
    assert beats[0].time - started < 0.95
    # A beat takes 0.3 s: were they counted from the last answer, none would come sooner than 0.8 s after another.
    assert min(after.time - before.time for before, after in itertools.pairwise(beats)) < 0.6


def test_beats_of_one_session_never_pile_up(server: TinkerServer, manager: SessionManager) -> None:
    hang = Hang()
    server.once(BEAT, hang)
    manager.start_session(config(server))
    server.requests.wait_for(BEAT, 1)
    time.sleep(0.3)  # six more are due
    assert len(server.requests.to(BEAT)) == 1
    hang.release()
    server.requests.wait_for(BEAT, 3)


def test_the_scheduler_comes_and_goes_with_the_sessions(
    server: TinkerServer, manager: SessionManager
) -> None:
    for _ in range(200):
        manager.stop_session(manager.start_session(config(server)))
    manager.start_session(config(server))
    server.requests.wait_for(BEAT, 2)


def test_a_hanging_server_delays_no_other(server: TinkerServer) -> None:
    with TinkerServer() as hanging, SessionManager(0.5, beat_timeout=60.0) as manager:
        hanging.on(BEAT, Hang())
        settings = config(hanging)
        transport, _ = connect(settings)
        for _ in range(100):
            manager.start_session(settings, transport)
        hanging.requests.wait_for(BEAT, 2)
        session_id = manager.start_session(config(server))
        started = time.monotonic()
        beats = server.requests.wait_for(BEAT, 6)
        late = [beat.time - started - 0.5 * number for number, beat in enumerate(beats[:6], start=1)]
        assert max(late) < 20
        assert len(heartbeat_threads()) <= 40
        manager.stop_session(session_id)
        closing = time.monotonic()
        transport.close()
        manager.close()
        assert time.monotonic() - closing < 20


def test_beats_that_hang_delay_no_other_of_the_same_server(server: TinkerServer) -> None:
    """They share a few threads, and get more of them while some are held up."""
    with SessionManager(0.5, beat_timeout=60.0) as manager:
        settings = config(server)
        transport, _ = connect(settings)
        stuck = {manager.start_session(settings, transport) for _ in range(3)}
        well = {manager.start_session(settings, transport) for _ in range(9)}
        server.on(BEAT, lambda beat: Hang() if beat.json()["session_id"] in stuck else None)
        started = time.monotonic()
        beats = server.requests.wait_for(BEAT, len(stuck) + 4 * len(well))
        for session_id in well:
            times = [beat.time for beat in beats if beat.json()["session_id"] == session_id]
            late = [at - started - 0.5 * number for number, at in enumerate(times, start=1)]
            assert max(late) < 20, f"{session_id}: {late}"
        transport.close()


def test_a_hook_that_exits_ends_no_heartbeat(server: TinkerServer) -> None:
    exits = [SystemExit()]

    def leave(event: metrics.ResponseEvent) -> None:
        if event.path == BEAT and exits:
            raise exits.pop()

    remove = metrics.on_response(leave)
    try:
        with SessionManager(0.1) as manager:
            manager.start_session(config(server))
            server.requests.wait_for(BEAT, 5)
    finally:
        remove()
    assert not exits


def test_one_thread_is_enough_for_a_server_that_answers_at_once(
    server: TinkerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinkex.concurrency.periodic.GROW_AFTER", 20.0)  # this machine may be slow at times
    with SessionManager(0.5) as manager:
        settings = config(server)
        transport, _ = connect(settings)
        for _ in range(10):
            manager.start_session(settings, transport)
        beats = server.requests.wait_for(BEAT, 30)
        assert len({beat.connection for beat in beats}) <= 3
        transport.close()


SERVE = """
import sys
from tinkex.testing import Reply, TinkerServer
with TinkerServer() as server:
    beats = server.requests
    server.on("/session_heartbeat", Reply(delay=0.05))
    print(server.url, flush=True)
    for beat in beats.wait_for("/session_heartbeat", int(sys.argv[1])):
        print(beat.json()["session_id"], beat.time)
    print("enough", flush=True)
    sys.stdin.readline()
"""


def test_hundreds_of_sessions_beat_in_time() -> None:
    """As many beats a second as a thousand sessions have; the server is a process of its own."""
    count, interval, rounds = 150, 1.5, 2
    process = start_python("-c", SERVE, str(count * rounds))
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    settings = Config(base_url=url, api_key="tml-test")
    started: dict[str, float] = {}
    numbers = itertools.count()
    transport, _ = connect(settings)
    with SessionManager(interval) as manager:

        def start() -> None:
            while next(numbers) < count:
                session_id = manager.start_session(settings, transport)
                started[session_id] = time.monotonic()

        starters = [threading.Thread(target=start) for _ in range(8)]
        for starter in starters:
            starter.start()
        for starter in starters:
            starter.join(60)
        lines = list(iter(process.stdout.readline, "enough\n"))
        most_threads = len(heartbeat_threads())
    transport.close()
    process.communicate("stop\n", timeout=60)
    # Both processes are on one machine, and CLOCK_MONOTONIC is the machine's.
    late: list[float] = []
    due: dict[str, int] = {}
    for line in lines:
        session_id, at = line.split()
        due[session_id] = due.get(session_id, 0) + 1
        late.append(float(at) - started[session_id] - due[session_id] * interval)
    late.sort()
    assert len(late) >= count * rounds
    # Beats of 50 ms, one at a time, would take 15 s.
    assert late[int(len(late) * 0.99) - 1] < 5.0
    assert most_threads <= 40
