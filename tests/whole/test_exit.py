"""How a program ends that did not close its client: in time, and telling the server."""

from __future__ import annotations

import signal
import subprocess
import textwrap
import time

import pytest
from clients import FINISH
from programs import start_python

from tinkex.session import process_end
from tinkex.testing import Hang, Reply, TinkerServer

PREAMBLE = """
import signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored below a shell's background job
import tinkex
from tinkex import types
from tinkex.session import process_end
process_end.EXIT_SECONDS = float(sys.argv[2])
prompt = types.ModelInput.from_ints([1, 2, 3])
params = types.SamplingParams(max_tokens=2)
service = tinkex.ServiceClient(base_url=sys.argv[1], api_key="tml-test")
"""


def run(server: TinkerServer, code: str, seconds: float = 60.0) -> subprocess.Popen[str]:
    """Start ``code``, which may take ``seconds`` to end, so that only what waits in vain takes long."""
    return start_python("-c", PREAMBLE + textwrap.dedent(code), server.url, str(seconds))


def end_of(process: subprocess.Popen[str]) -> tuple[int, str, str, float]:
    """``(status, stdout, stderr, seconds until the end)``."""
    started = time.monotonic()
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err, time.monotonic() - started


def reason(server: TinkerServer) -> str:
    [finish] = server.requests.to(FINISH)
    return str(finish.json()["reason"]["type"])


def test_a_forgotten_client_ends_its_session_with_long_polls_in_flight(server: TinkerServer) -> None:
    process = run(
        server,
        """
        training = service.create_lora_training_client("tinkex/byte-lm")
        sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
        print("ready", flush=True)
        sys.stdin.readline()
        pending = [training.optim_step()] + [sampler.sample(prompt, 1, params) for _ in range(50)]
        service.create_sampling_client_async(base_model="tinkex/byte-lm")
        sys.stdin.readline()
        print("end", time.time(), flush=True)
        """,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    server.on("/retrieve_future", Hang())
    server.on("/create_sampling_session", Hang())
    server.requests.clear()
    process.stdin.write("go\n")
    process.stdin.flush()
    server.requests.wait_for("/retrieve_future", 51)
    server.requests.wait_for("/create_sampling_session")
    process.stdin.write("end\n")
    status, out, err, _ = end_of(process)
    took = time.time() - float(out.split()[-1])
    assert (status, err) == (0, "")
    assert reason(server) == "success"
    assert took < 20
    server.wait_for_connections(0)


def test_many_forgotten_clients_end_together(server: TinkerServer) -> None:
    server.on(FINISH, Reply(delay=0.2))
    process = run(
        server,
        """
        more = [tinkex.ServiceClient(base_url=sys.argv[1], api_key="tml-test") for _ in range(19)]
        print("end", time.time(), flush=True)
        """,
    )
    status, out, err, _ = end_of(process)
    took = time.time() - float(out.split()[-1])
    assert (status, err) == (0, "")
    assert len(server.requests.to(FINISH)) == 20
    assert took < 20


def test_many_clients_of_a_server_that_hangs_do_not_hold_up_the_exit(server: TinkerServer) -> None:
    server.on(FINISH, Hang())
    process = run(
        server,
        """
        more = [tinkex.ServiceClient(base_url=sys.argv[1], api_key="tml-test") for _ in range(39)]
        print("end", time.time(), flush=True)
        """,
        seconds=4.0,
    )
    status, out, err, _ = end_of(process)
    assert (status, err) == (0, "")
    assert time.time() - float(out.split()[-1]) < 20, "one second for each would take longer"


def test_a_finish_that_hangs_does_not_hold_up_the_exit(server: TinkerServer) -> None:
    server.on(FINISH, Hang())
    process = run(server, 'print("end", time.time(), flush=True)', seconds=4.0)
    status, out, err, _ = end_of(process)
    assert (status, err) == (0, "")
    assert time.time() - float(out.split()[-1]) < 20
    assert reason(server) == "success"
    assert process_end.EXIT_SECONDS < 2


def test_a_script_that_fails_reports_errored(server: TinkerServer) -> None:
    status, _, err, _ = end_of(run(server, "1 / 0"))
    assert status == 1
    assert err.rstrip().endswith("ZeroDivisionError: division by zero")
    assert reason(server) == "errored"


BLOCKED = {
    "a result": (
        "/retrieve_future",
        "service.create_sampling_client(base_model='tinkex/byte-lm').sample(prompt, 1, params).result()",
    ),
    "a creation": ("/create_model", "service.create_lora_training_client('tinkex/byte-lm')"),
    "a creation's long poll": ("/retrieve_future", "service.create_lora_training_client('tinkex/byte-lm')"),
    "a plain call": ("/get_server_capabilities", "service.get_server_capabilities()"),
}


@pytest.mark.parametrize(
    ("call", "within"),
    [("a result", "a with block"), *((call, "a bare script") for call in BLOCKED)],
)
def test_ctrl_c_during_a_blocking_call(server: TinkerServer, call: str, within: str) -> None:
    path, code = BLOCKED[call]
    server.on(path, Hang())
    script = f"with service:\n    {code}" if within == "a with block" else code
    process = run(server, script)
    server.requests.wait_for(path, 1)
    process.send_signal(signal.SIGINT)
    status, _, err, took = end_of(process)
    assert status in (130, -signal.SIGINT)
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert took < 20
    assert reason(server) == "interrupted"


def test_ctrl_c_while_the_session_starts(server: TinkerServer) -> None:
    server.on("/create_session", Hang())
    process = run(server, "")
    server.requests.wait_for("/create_session", 1)
    process.send_signal(signal.SIGINT)
    status, _, _, took = end_of(process)
    assert status in (130, -signal.SIGINT)
    assert took < 20
    server.wait_for_connections(0)


def test_a_closed_client_ends_at_once(server: TinkerServer) -> None:
    server.once(FINISH, {})
    server.on(FINISH, Hang())
    status, out, err, _ = end_of(run(server, 'service.close()\nprint("end", time.time(), flush=True)'))
    assert (status, err) == (0, "")
    assert time.time() - float(out.split()[-1]) < 20
    assert len(server.requests.to(FINISH)) == 1
