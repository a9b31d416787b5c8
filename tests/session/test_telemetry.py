"""Telemetry: what is reported, in which batches, and that nobody ever waits for it."""

from __future__ import annotations

import gc
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from clients import config
from programs import run_code

import tinkex
from tinkex.session import session, telemetry
from tinkex.session.telemetry import Telemetry
from tinkex.testing import Hang, TinkerServer

PATH = "/telemetry"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No reporter of another test is about: one may still be at its very end when ``close`` returns.

    Nothing is sent only because the machine is slow, and what is sent has the time to arrive.
    """
    monkeypatch.setattr(telemetry, "FLUSH_SECONDS", 60.0)
    monkeypatch.setattr(session, "LAST_REPORT", 60.0)
    wait_for_the_end_of_all()
    yield
    wait_for_the_end_of_all()


@pytest.fixture
def listening(server: TinkerServer) -> TinkerServer:
    """A server that takes telemetry."""
    server.on(PATH, {"status": "accepted"})
    return server


def client(server: TinkerServer) -> tinkex.ServiceClient:
    return tinkex.ServiceClient(config=config(server, telemetry=True))


def reporter(service: tinkex.ServiceClient) -> Telemetry:
    found = service.get_telemetry()
    assert found is not None
    return found


def events(server: TinkerServer) -> list[dict[str, Any]]:
    return [event for request in server.requests.to(PATH) for event in request.json()["events"]]


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "tinkex-telemetry"]


def wait_for_the_end_of_all() -> None:
    for thread in threads():
        thread.join(60)
    assert threads() == []


def test_a_session_reports_its_start_its_events_and_its_end_in_one_batch(listening: TinkerServer) -> None:
    began = time.monotonic()
    with client(listening) as service:
        assert reporter(service).log("checkpoint", {"step": 7}, "WARNING")
    lasted = time.monotonic() - began
    [request] = listening.requests.to(PATH)
    batch = request.json()
    assert batch["session_id"] == service.session_id
    assert batch["platform"]
    assert batch["sdk_version"]
    assert len(batch["process_uuid"]) == 36
    start, generic, end = batch["events"]
    assert (start["event"], generic["event"], end["event"]) == (
        "SESSION_START",
        "GENERIC_EVENT",
        "SESSION_END",
    )
    assert (generic["event_name"], generic["event_data"], generic["severity"]) == (
        "checkpoint",
        {"step": 7},
        "WARNING",
    )
    assert [event["event_session_index"] for event in batch["events"]] == [0, 1, 2]
    assert len({event["event_id"] for event in batch["events"]}) == 3
    assert all(event["timestamp"].endswith("+00:00") for event in batch["events"])
    assert re.fullmatch(r"PT\d+\.\d{3}S", end["duration"])
    assert float(end["duration"][2:-1]) <= lasted + 0.001


def test_it_comes_before_the_connections_are_closed_and_the_thread_ends(listening: TinkerServer) -> None:
    service = client(listening)
    assert len(threads()) == 1
    service.close()
    assert [event["event"] for event in events(listening)] == ["SESSION_START", "SESSION_END"]
    wait_for_the_end_of_all()


def test_an_error_that_leaves_the_with_block_is_reported_without_the_values_of_variables(
    listening: TinkerServer,
) -> None:
    def fail(password: str) -> None:
        raise ValueError("no good")

    with pytest.raises(ValueError, match="no good"), client(listening):
        fail("".join(["swords", "fish"]))
    [report] = [event for event in events(listening) if event["event"] == "UNHANDLED_EXCEPTION"]
    assert (report["error_type"], report["error_message"]) == ("ValueError", "no good")
    assert report["severity"] == "ERROR"
    assert "in fail" in report["traceback"]
    assert "swordsfish" not in report["traceback"]


def test_ctrl_c_is_no_unhandled_exception(listening: TinkerServer) -> None:
    with pytest.raises(KeyboardInterrupt), client(listening):
        raise KeyboardInterrupt
    assert [event["event"] for event in events(listening)] == ["SESSION_START", "SESSION_END"]


def test_a_hundred_events_go_at_once(listening: TinkerServer) -> None:
    with client(listening) as service:
        for number in range(250):
            reporter(service).log("step", {"number": number})
        listening.requests.wait_for(PATH, 2)
        assert [len(request.json()["events"]) for request in listening.requests.to(PATH)[:2]] == [100, 100]
    assert [event["event_session_index"] for event in events(listening)] == list(range(252))


def test_fewer_go_when_it_is_time(listening: TinkerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "FLUSH_SECONDS", 0.05)
    with client(listening) as service:
        listening.requests.wait_for(PATH, 1)
        wait_for_the_end_of_all()  # there is nothing more to send
        reporter(service).log("later")
        listening.requests.wait_for(PATH, 2)


def test_nobody_waits_for_a_server_that_hangs_and_the_queue_is_bounded(
    server: TinkerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry, "SEND_TIMEOUT", 60.0)
    monkeypatch.setattr(session, "LAST_REPORT", 1.0)
    server.on(PATH, Hang())
    service = client(server)
    for _ in range(telemetry.BATCH - 1):  # with the start of the session a whole batch
        assert reporter(service).log("step")
    server.requests.wait_for(PATH, 1)
    taken = [reporter(service).log("step") for _ in range(telemetry.QUEUE_LIMIT + 300)]
    assert taken == [True] * telemetry.QUEUE_LIMIT + [False] * 300
    # The first batch is still with the server: whoever waited for it would have seen the next one go.
    assert len(server.requests.to(PATH)) == 1
    began = time.monotonic()
    service.close()
    assert time.monotonic() - began < 20  # and not the minute that a batch is given
    assert len(server.requests.to("/sessions/*/finish")) == 1
    wait_for_the_end_of_all()


def test_a_batch_gets_one_try_and_the_next_batch_another(server: TinkerServer) -> None:
    server.once(PATH, 503)
    server.on(PATH, {"status": "accepted"})
    with client(server) as service:
        for _ in range(150):
            reporter(service).log("step")
        server.requests.wait_for(PATH, 1)
    first, second = server.requests.to(PATH)
    assert first.json()["events"][-1]["event_session_index"] == 99
    assert second.json()["events"][0]["event_session_index"] == 100


def test_a_server_that_wants_none_gets_no_more(server: TinkerServer) -> None:
    server.on(PATH, 404)
    with client(server) as service:
        for _ in range(150):
            reporter(service).log("step")
        server.requests.wait_for(PATH, 1)
        wait_for_the_end_of_all()
        assert not reporter(service).log("step")
    assert len(server.requests.to(PATH)) == 1


@pytest.mark.parametrize("odd", [object(), float("nan"), {1, 2}, b"bytes", float("inf")])
def test_odd_values_are_shown_as_text_and_harm_nobody(listening: TinkerServer, odd: object) -> None:
    with client(listening) as service:
        assert reporter(service).log("odd", {"value": odd})
    [event] = [event for event in events(listening) if event["event"] == "GENERIC_EVENT"]
    assert isinstance(event["event_data"]["value"], str)


def test_what_cannot_be_said_is_dropped_without_an_error(listening: TinkerServer) -> None:
    circle: dict[str, object] = {}
    circle["self"] = circle

    class MuteError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    with client(listening) as service:
        assert not reporter(service).log("circle", circle)
        assert not reporter(service).log("keys", {("a", "b"): 1})  # type: ignore[dict-item]
        assert reporter(service).log_exception(MuteError())
    assert [event["event_session_index"] for event in events(listening)] == [0, 1, 2]


def test_it_can_be_turned_off_and_is_off_for_the_embedded_server(
    listening: TinkerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tinkex.ServiceClient(config=config(listening, telemetry=False)) as service:
        assert service.get_telemetry() is None
    monkeypatch.setenv("TINKER_TELEMETRY", "0")
    with tinkex.ServiceClient(base_url=listening.url, api_key="tml-test") as service:
        assert service.get_telemetry() is None
    assert listening.requests.to(PATH) == []
    monkeypatch.setenv("TINKER_TELEMETRY", "1")
    with tinkex.ServiceClient(base_url="local://") as service:
        assert service.get_telemetry() is None
    with tinkex.ServiceClient(base_url=listening.url, api_key="tml-test") as service:
        assert service.get_telemetry() is not None


def test_a_client_that_is_dropped_takes_its_thread_with_it(listening: TinkerServer) -> None:
    service = client(listening)
    [thread] = threads()
    del service
    gc.collect()
    thread.join(60)
    assert not thread.is_alive()


def test_a_forked_child_reports_for_itself_and_leaves_the_parents_events(listening: TinkerServer) -> None:
    code = """
    import os, sys
    import tinkex
    from tinkex import service_client
    from tinkex.session import session, telemetry
    telemetry.FLUSH_SECONDS = session.LAST_REPORT = service_client.CLOSE_SECONDS = 60.0
    service = tinkex.ServiceClient(base_url=sys.argv[1], api_key="tml-test")
    service.get_telemetry().log("parent")
    child = os.fork()
    service.get_telemetry().log("both")
    service.close()
    if child:
        os.waitpid(child, 0)
    """
    run_code(code, listening.url, TINKER_TELEMETRY="1", PYTHONWARNINGS="ignore")
    batches = [request.json() for request in listening.requests.to(PATH)]
    assert len({batch["process_uuid"] for batch in batches}) == len(batches) == 2
    told = [[event.get("event_name", event["event"]) for event in batch["events"]] for batch in batches]
    assert sorted(told, key=len) == [["both"], ["SESSION_START", "parent", "both", "SESSION_END"]]
