"""SIGTERM ends the session first, where it would kill the process by its default action, and nowhere else."""

from __future__ import annotations

import signal
import subprocess
import textwrap

import pytest
from clients import FINISH
from programs import start_python

import tinkex
from tinkex.session import process_end
from tinkex.testing import Hang, TinkerServer

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGTERM"), reason="no SIGTERM on this system")

PREAMBLE = """
import os, signal, sys, threading, time
import tinkex
from tinkex.session import process_end
process_end.EXIT_SECONDS = float(sys.argv[2])
URL = sys.argv[1]
def connect(**settings):
    return tinkex.ServiceClient(config=tinkex.Config(base_url=URL, api_key="tml-test", **settings))
def wait():
    print("ready", flush=True)
    sys.stdin.readline()
"""


def start(server: TinkerServer, code: str, seconds: float = 60.0) -> subprocess.Popen[str]:
    """Run ``code`` until it is ready. Its end may take ``seconds``, so that a busy machine changes nothing."""
    process = start_python("-c", PREAMBLE + textwrap.dedent(code), server.url, str(seconds))
    assert process.stdout is not None
    line = process.stdout.readline()
    if line != "ready\n":
        process.kill()
        pytest.fail(line + process.communicate()[1])
    return process


def terminate(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The status that the process ends with on SIGTERM, and what it wrote on standard error."""
    process.terminate()
    _, err = process.communicate(timeout=60)
    return process.returncode, err


def test_the_session_ends_and_the_process_dies_of_the_signal(server: TinkerServer) -> None:
    process = start(server, "service = connect(); wait()")
    assert terminate(process) == (-signal.SIGTERM, "")
    [finish] = server.requests.to(FINISH)
    assert finish.json()["reason"]["type"] == "interrupted"


def test_it_works_while_the_main_thread_waits_for_a_result(server: TinkerServer) -> None:
    server.on("/retrieve_future", Hang())
    server.once("/retrieve_future", None)  # of the model
    process = start(
        server,
        """
        training = connect().create_lora_training_client("tinkex/byte-lm")
        print("ready", flush=True)
        training.optim_step().result()
        """,
    )
    server.requests.wait_for("/retrieve_future", 2)
    assert terminate(process) == (-signal.SIGTERM, "")
    assert len(server.requests.to(FINISH)) == 1


def test_a_server_that_hangs_does_not_keep_the_process(server: TinkerServer) -> None:
    process = start(server, "service = connect(); wait()", seconds=process_end.EXIT_SECONDS)
    server.on(FINISH, Hang())
    assert terminate(process)[0] == -signal.SIGTERM


def test_a_closed_session_is_not_ended_again(server: TinkerServer) -> None:
    process = start(server, "connect().close(); wait()")
    assert terminate(process)[0] == -signal.SIGTERM
    assert len(server.requests.to(FINISH)) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_handler_of_the_programs_own_is_never_taken(server: TinkerServer, when: str) -> None:
    own = "signal.signal(signal.SIGTERM, lambda *_: os._exit(7))"
    lines = [own, "service = connect()"] if when == "before" else ["service = connect()", own]
    process = start(server, "\n".join([*lines, "wait()"]))
    assert terminate(process)[0] == 7
    assert server.requests.to(FINISH) == []


def test_it_can_be_turned_off(server: TinkerServer) -> None:
    process = start(server, "service = connect(end_session_on_sigterm=False); wait()")
    assert terminate(process)[0] == -signal.SIGTERM
    assert server.requests.to(FINISH) == []


def test_a_client_made_on_another_thread_leaves_the_signal_alone(server: TinkerServer) -> None:
    process = start(
        server,
        """
        thread = threading.Thread(target=lambda: globals().update(service=connect()))
        thread.start(); thread.join()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        wait()
        """,
    )
    assert terminate(process)[0] == -signal.SIGTERM


def test_a_server_that_raises_the_signal_again_at_its_end_is_covered(server: TinkerServer) -> None:
    """So do uvicorn and others: they take the signal for the time they run, and then put back what was there."""
    process = start(
        server,
        """
        service = connect()
        stop = threading.Event()
        before = signal.signal(signal.SIGTERM, lambda *_: stop.set())
        print("ready", flush=True)
        stop.wait()
        signal.signal(signal.SIGTERM, before)
        signal.raise_signal(signal.SIGTERM)
        """,
    )
    assert terminate(process)[0] == -signal.SIGTERM
    assert len(server.requests.to(FINISH)) == 1


def test_a_forked_child_that_is_terminated_leaves_the_session_to_its_parent(server: TinkerServer) -> None:
    process = start(
        server,
        """
        service = connect()
        for _ in range(50):  # at once, which is when Python drops signals to a child
            child = os.fork()
            if child == 0:
                time.sleep(60)
                os._exit(0)
            os.kill(child, signal.SIGTERM)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
        wait()
        """,
    )
    assert server.requests.to(FINISH) == []
    process.communicate("\n", timeout=60)
    assert process.returncode == 0
    assert len(server.requests.to(FINISH)) == 1


def test_the_handler_is_set_only_where_there_was_none() -> None:
    """In this very process, where the test runner may or may not have one."""
    before = signal.getsignal(signal.SIGTERM)
    mine = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with tinkex.ServiceClient(base_url="local://"):
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, mine)
    assert signal.getsignal(signal.SIGTERM) is before
