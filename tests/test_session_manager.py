"""Sessions that live, fail and end, against a real server. Intervals are short; waits are for events."""

from __future__ import annotations

import logging
import random
import threading
import time

import pytest
from clients import BEAT, config, wait_until

import tinkex
from tinkex import SessionManager
from tinkex.errors import (
    APIConnectionError,
    APIStatusError,
    ClientClosedError,
    ConfigError,
    SessionEndedError,
)
from tinkex.testing import Hang, Reply, Reset, TinkerServer


def test_defaults() -> None:
    assert SessionManager.default() is SessionManager.default()
    assert SessionManager.default().heartbeat_interval == 10.0
    for interval in (0, -1, float("nan")):
        with pytest.raises(ConfigError):
            SessionManager(interval)


def test_the_snapshot(server: TinkerServer, manager: SessionManager) -> None:
    session_id = manager.start_session(config(server))
    [new] = manager.sessions()
    assert (new.session_id, new.last_success, new.consecutive_failures, new.last_error) == (
        session_id, None, 0, None,
    )  # fmt: skip
    wait_until(lambda: manager.sessions()[0].last_success is not None)
    server.on(BEAT, 503)
    wait_until(lambda: manager.sessions()[0].consecutive_failures >= 2)
    [failing] = manager.sessions()
    assert "503" in (failing.last_error or "")
    assert failing.age > (failing.last_success or 0.0) > 0
    server.on(BEAT, None)
    wait_until(lambda: manager.sessions()[0].consecutive_failures == 0)
    assert manager.sessions()[0].last_error is None


def test_beats_are_not_retried(server: TinkerServer) -> None:
    server.on(BEAT, 503)
    with SessionManager(1.5) as manager:
        manager.start_session(config(server))
        first, second = server.requests.wait_for(BEAT, 2)[:2]
    assert second.time - first.time > 0.3
    assert first.headers["x-idempotency-key"] != second.headers["x-idempotency-key"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 422])
def test_a_final_refusal_ends_the_session(
    server: TinkerServer, manager: SessionManager, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    server.on(BEAT, Reply(status, {"detail": "it is over"}))
    ended: list[SessionEndedError] = []
    session_id = manager.start_session(config(server), on_end=ended.append)
    wait_until(lambda: bool(ended))
    assert manager.sessions() == []
    assert (ended[0].session_id, ended[0].status_code) == (session_id, status)
    assert "it is over" in str(ended[0])
    time.sleep(0.15)
    assert len(server.requests.to(BEAT)) == 1
    assert len(ended) == 1
    assert len([r for r in caplog.records if session_id in r.getMessage()]) == 1


def test_an_ended_session_is_told_to_the_service_and_its_children(
    server: TinkerServer, manager: SessionManager
) -> None:
    service = tinkex.ServiceClient(config=config(server), session_manager=manager)
    training = service.create_lora_training_client("tinkex/byte-lm")
    sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
    server.on(BEAT, Reply(410, {"detail": "expired at noon"}))

    def told() -> bool:
        try:
            service.__enter__()  # which asks nobody
        except SessionEndedError:
            return True
        return False

    wait_until(told)
    assert manager.sessions() == []
    prompt = tinkex.types.ModelInput.from_ints([1])
    for use in (
        service.get_server_capabilities,
        lambda: service.create_sampling_client(base_model="tinkex/byte-lm"),
        training.optim_step,
        lambda: sampler.sample(prompt, 1, tinkex.types.SamplingParams(max_tokens=1)),
    ):
        with pytest.raises(SessionEndedError) as caught:
            use()
        assert caught.value.session_id == service.session_id
        assert caught.value.status_code == 410
        assert all(words in str(caught.value) for words in (service.session_id, "410", "expired at noon"))
    service.close()
    assert not server.requests.to("/sessions/*/finish")


@pytest.mark.parametrize("failure", [500, 503, 408, 409, 429, Reset(), Reset(before=True)])
def test_passing_failures_keep_the_session(
    server: TinkerServer, manager: SessionManager, failure: int | Reset
) -> None:
    server.once(BEAT, failure, failure, failure)
    session_id = manager.start_session(config(server))
    server.requests.wait_for(BEAT, 4)
    wait_until(lambda: manager.sessions()[0].last_success is not None)
    assert [session.session_id for session in manager.sessions()] == [session_id]


def test_a_server_that_is_gone_keeps_the_session(manager: SessionManager) -> None:
    with TinkerServer() as server:
        manager.start_session(config(server))
    wait_until(lambda: manager.sessions()[0].consecutive_failures >= 3)
    again = TinkerServer(server.port)
    again.on(BEAT, {})
    with again:
        wait_until(lambda: manager.sessions()[0].last_success is not None)


def test_a_warning_after_long_silence_and_not_again_for_a_minute(
    server: TinkerServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.on(BEAT, Reply(503, {"detail": "out for lunch"}))
    with SessionManager(0.02, warn_after=0.2) as manager:
        session_id = manager.start_session(config(server))
        server.requests.wait_for(BEAT, 5)
        warned = bool(caplog.records)
        assert not warned or manager.sessions()[0].age >= 0.2
        wait_until(lambda: bool(caplog.records))
        count = len(server.requests.to(BEAT))
        server.requests.wait_for(BEAT, count + 10)
    [warning] = caplog.records
    assert warning.levelno == logging.WARNING
    assert session_id in warning.getMessage()
    assert "out for lunch" in warning.getMessage()


def test_stop_waits_for_the_beat_in_flight(server: TinkerServer, manager: SessionManager) -> None:
    hang = Hang()
    server.on(BEAT, hang)
    session_id = manager.start_session(config(server))
    server.requests.wait_for(BEAT, 1)
    stopped = threading.Event()

    def stop() -> None:
        manager.stop_session(session_id)
        stopped.set()

    thread = threading.Thread(target=stop)
    thread.start()
    assert not stopped.wait(0.2)
    hang.release()
    assert stopped.wait(60)
    thread.join()
    server.wait_for_connections(0)
    assert len(server.requests.to(BEAT)) == 1


def test_stopping_what_is_unknown_is_fine(manager: SessionManager) -> None:
    manager.stop_session("never-heard-of")


def test_a_beat_that_gets_no_answer_times_out(server: TinkerServer) -> None:
    server.on(BEAT, Hang())
    with SessionManager(0.05, beat_timeout=0.2) as manager:
        manager.start_session(config(server))
        wait_until(lambda: manager.sessions()[0].consecutive_failures >= 1)
        server.on(BEAT, None)
        wait_until(lambda: manager.sessions()[0].last_success is not None)


def test_a_failed_start_leaves_nothing(server: TinkerServer, manager: SessionManager) -> None:
    server.on("/create_session", 403)
    with pytest.raises(APIStatusError):
        manager.start_session(config(server))
    server.on("/create_session", Reset())
    with pytest.raises(APIConnectionError):
        manager.start_session(config(server, max_tries=2))
    assert manager.sessions() == []
    server.wait_for_connections(0)


def test_a_closed_manager_starts_nothing(server: TinkerServer, manager: SessionManager) -> None:
    manager.start_session(config(server))
    manager.close()
    manager.close()
    assert manager.sessions() == []
    with pytest.raises(ClientClosedError):
        manager.start_session(config(server))


def test_closing_while_a_session_starts_leaves_nothing(server: TinkerServer, manager: SessionManager) -> None:
    hang = Hang()
    server.on("/create_session", hang)
    errors: list[BaseException] = []

    def start() -> None:
        try:
            manager.start_session(config(server))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    server.requests.wait_for("/create_session")
    manager.close()
    hang.release()
    thread.join(60)
    assert [type(error) for error in errors] == [ClientClosedError]
    assert manager.sessions() == []
    server.wait_for_connections(0)


def test_sixteen_threads_start_stop_and_fail_at_once(server: TinkerServer) -> None:
    before = set(threading.enumerate())
    dice = random.Random(1)
    replies = [None, None, 503, 410, Reset(), Reset(before=True), Reply(delay=0.02)]
    server.on(BEAT, lambda request: dice.choice(replies))
    server.on("/create_session", lambda request: dice.choice([None, None, None, 403]))
    manager = SessionManager(0.01)
    begun = time.monotonic()
    unexpected: list[BaseException] = []

    def is_enough() -> bool:
        return time.monotonic() > begun + 2 and len(server.requests.to(BEAT)) > 50

    def churn(number: int) -> None:
        own = random.Random(number)
        while not is_enough():
            try:
                session_id = manager.start_session(config(server, max_tries=1))
            except APIStatusError:
                continue
            except BaseException as error:
                unexpected.append(error)
                return
            time.sleep(own.random() * 0.05)
            manager.sessions()
            manager.stop_session(session_id)
            if own.random() < 0.3:
                manager.stop_session(session_id)

    workers = [threading.Thread(target=churn, args=(number,)) for number in range(16)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert not unexpected
    assert manager.sessions() == []
    manager.close()
    assert len(server.requests.to(BEAT)) > 50
    wait_until(lambda: not (set(threading.enumerate()) - before - server_threads()))
    server.wait_for_connections(0)


def server_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if "process_request_thread" in thread.name}


def test_servers_that_give_the_same_id_are_told_apart(server: TinkerServer, manager: SessionManager) -> None:
    with TinkerServer() as other:
        server.on("/create_session", {"session_id": "the-same"})
        other.on("/create_session", {"session_id": "the-same"})
        for each in (server, other):
            each.on(BEAT, {})
        one = tinkex.ServiceClient(config=config(server), session_manager=manager)
        two = tinkex.ServiceClient(config=config(other), session_manager=manager)
        assert one.session_id == two.session_id
        one.close()
        other.requests.clear()
        other.requests.wait_for(BEAT, 2)
        two.close()
        assert manager.sessions() == []
