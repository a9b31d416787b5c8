"""Clients across ``os.fork``, by hand, by multiprocessing and by gunicorn."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import threading
import time
import traceback
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clients import FINISH, PARAMS, PROMPT, TOKENS
from programs import run_code, start_python

from tinkex import Config, ServiceClient, SessionManager
from tinkex.concurrency.rate_limit_pause import pause_of
from tinkex.http.auth import RenewedCredential
from tinkex.testing import Reply, TinkerServer

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no os.fork here"),
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
]


def in_child(work: Callable[[], None], seconds: float = 60.0) -> None:
    """Run ``work`` in a forked child, which must end well within ``seconds``."""
    assert wait_for_end(fork(work), seconds) == 0


def fork(work: Callable[[], None]) -> int:
    """The process id of a child that runs ``work`` and ends, with status 0 if nothing was raised."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return pid


def wait_for_end(pid: int, seconds: float) -> int:
    """The exit status of a child; it is killed, and the test fails, if it does not end in time."""
    too_late = threading.Timer(seconds, os.kill, (pid, signal.SIGKILL))
    too_late.start()
    _, status = os.waitpid(pid, 0)
    too_late.cancel()
    if os.waitstatus_to_exitcode(status) == -signal.SIGKILL:
        pytest.fail(f"the child hung for {seconds} s")
    return os.waitstatus_to_exitcode(status)


@pytest.fixture
def service(server: TinkerServer) -> Iterator[ServiceClient]:
    config = Config(base_url=server.url, api_key="tml-test", retry_delay=0.01)
    with ServiceClient(config=config, heartbeat_interval=0.1) as service:
        yield service


def test_a_client_works_in_the_child_and_stays_untouched_in_the_parent(
    server: TinkerServer, service: ServiceClient
) -> None:
    sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
    training = service.create_lora_training_client("tinkex/byte-lm")
    sampler.sample(PROMPT, 1, PARAMS).result(60)
    server.requests.wait_for("/session_heartbeat", 1)
    before = {request.connection for request in server.requests}
    server.requests.clear()
    beaten = multiprocessing.get_context("fork").Event()
    server.on("/session_heartbeat", lambda beat: None if beat.connection in before else beaten.set())

    def work() -> None:
        assert [t.name for t in threading.enumerate() if t.name.startswith("tinkex-")] == []
        service.get_server_capabilities()
        assert sampler.sample(PROMPT, 1, PARAMS).result(60).sequences[0].tokens == TOKENS
        training.optim_step().result(60)
        service.create_sampling_client(base_model="tinkex/byte-lm").sample(PROMPT, 1, PARAMS).result(60)
        service.create_lora_training_client("tinkex/byte-lm")
        assert beaten.wait(60)  # on behalf of a parent that may be gone
        service.close()

    in_child(work)
    child = {r.connection for r in server.requests.to("/get_server_capabilities")}
    assert child.isdisjoint(before)
    assert len(server.requests.to(FINISH)) == 0
    for _ in range(10):
        sampler.sample(PROMPT, 1, PARAMS).result(60)
    service.create_sampling_client(base_model="tinkex/byte-lm").sample(PROMPT, 1, PARAMS).result(60)
    service.close()
    assert len(server.requests.to(FINISH)) == 1
    numbers = [r.json()["sampling_session_seq_id"] for r in server.requests.to("/create_sampling_session")]
    assert len(set(numbers)) == 2
    server.wait_for_connections(0)


def test_the_child_beats_once_it_uses_the_session(server: TinkerServer, service: ServiceClient) -> None:
    context = multiprocessing.get_context("fork")
    parent_is_silent, enough = context.Event(), context.Event()

    def work() -> None:
        assert parent_is_silent.wait(60)
        service.get_server_capabilities()
        assert enough.wait(60)

    server.on("/session_heartbeat", {})  # although the parent has ended the session
    pid = fork(work)
    service.close()
    server.requests.clear()
    parent_is_silent.set()
    server.requests.wait_for("/session_heartbeat", 2)
    enough.set()
    assert wait_for_end(pid, 60) == 0


def test_samples_of_parent_and_child_have_numbers_of_their_own(
    server: TinkerServer, service: ServiceClient
) -> None:
    sampler = service.create_sampling_client(base_model="tinkex/byte-lm")

    def sample() -> None:
        for future in sampler.sample_many([PROMPT] * 20, 1, PARAMS):
            future.result(60)

    sample()
    in_child(sample)
    in_child(sample)
    sample()
    numbers = [request.json()["seq_id"] for request in server.requests.to("/asample")]
    assert len(numbers) == len(set(numbers)) == 80


def test_a_new_client_in_the_child_is_the_childs_own(server: TinkerServer, service: ServiceClient) -> None:
    config = service.config

    def work() -> None:
        with ServiceClient(config=config, heartbeat_interval=0.05) as own:
            assert own.session_id != service.session_id
            own.create_sampling_client(base_model="tinkex/byte-lm").sample(PROMPT, 1, PARAMS).result(60)

    in_child(work)
    assert len(server.requests.to(FINISH)) == 1
    service.get_server_capabilities()


def test_an_exit_of_the_child_finishes_nothing(server: TinkerServer) -> None:
    code = """
    import os, sys, tinkex
    service = tinkex.ServiceClient(base_url=sys.argv[1], api_key="tml-test")
    pid = os.fork()
    service.get_server_capabilities()
    if pid:
        os.waitpid(pid, 0)
        print("parent waited", flush=True)
    """
    done = run_code(code, server.url, PYTHONWARNINGS="ignore::DeprecationWarning")
    assert (done.returncode, done.stdout, done.stderr) == (0, "parent waited\n", "")
    assert len(server.requests.to("/get_server_capabilities")) == 2
    assert len(server.requests.to(FINISH)) == 1


def test_a_fork_while_every_lock_is_in_use_never_deadlocks(server: TinkerServer) -> None:
    """200 forks while other threads go through all that has locks; each child must be able to work."""
    config = Config(base_url=server.url, api_key="tml-test", retry_delay=0.01)
    service = ServiceClient(config=config, heartbeat_interval=0.005)
    sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
    training = service.create_lora_training_client("tinkex/byte-lm")
    credential = RenewedCredential(lambda: "value")
    over = threading.Event()

    def sample() -> None:
        for future in sampler.sample_many([PROMPT] * 4, 1, PARAMS):
            future.result(60)

    def start_and_stop() -> None:
        with SessionManager(0.01) as manager:
            manager.start_session(config)
            manager.sessions()

    def children() -> None:
        service.create_sampling_client_async(base_model="tinkex/byte-lm").result(60)
        service.clients()

    def credentials() -> None:
        credential.renew("value")
        SessionManager.default().sessions()

    def gates() -> None:
        pause_of("an identity")

    def hammer(work: Callable[[], object]) -> Callable[[], None]:
        def loop() -> None:
            while not over.is_set():
                work()

        return loop

    jobs = [sample, lambda: training.optim_step().result(60), start_and_stop, children, credentials, gates]
    hammers = [threading.Thread(target=hammer(job)) for job in jobs]
    for thread in hammers:
        thread.start()

    def use_all(number: int) -> None:
        if number % 20 == 0:
            sample()
            children()
            start_and_stop()
            training.optim_step().result(60)
        else:
            # What takes each lock, without the cost of the calls.
            session = service._session
            session.executor.submit(int).result(60)
            session.sampling_executor.submit(int).result(60)
            session.next_model_number()
            session.response_budget.acquire(1)
            session.manager.sessions()
            service.clients()
        credentials()
        gates()

    try:
        for number in range(200):
            in_child(lambda number=number: use_all(number), 60)  # type: ignore[misc]
    finally:
        over.set()
        for thread in hammers:
            thread.join(60)
        service.close()
    assert not any(thread.is_alive() for thread in hammers)


def _sample_in_process(service: ServiceClient, results: multiprocessing.Queue[list[int]]) -> None:
    sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
    results.put(list(sampler.sample(PROMPT, 1, PARAMS).result(60).sequences[0].tokens))


def test_multiprocessing(server: TinkerServer, service: ServiceClient) -> None:
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[list[int]] = context.Queue()
    processes = [context.Process(target=_sample_in_process, args=(service, results)) for _ in range(4)]
    for process in processes:
        process.start()
    assert [results.get(timeout=60) for _ in processes] == [TOKENS] * 4
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert not server.requests.to(FINISH)


APP = """
import os, tinkex
from tinkex import types
service = tinkex.ServiceClient(base_url=os.environ["SERVER"], api_key="tml-test")
sampler = service.create_sampling_client(base_model="tinkex/byte-lm")

def app(environ, start_response):
    result = sampler.sample(types.ModelInput.from_ints([1]), 1, types.SamplingParams(max_tokens=1)).result(60)
    body = f"{os.getpid()} {list(result.sequences[0].tokens)}".encode()
    start_response("200 OK", [("Content-Length", str(len(body))), ("Connection", "close")])
    return [body]
"""


def test_gunicorn_preloads_a_client_for_two_workers(server: TinkerServer, tmp_path: Path) -> None:
    (tmp_path / "preloaded.py").write_text(APP, encoding="utf-8")
    server.on("/asample", Reply(200, {"request_id": "r"}, delay=0.05))
    server.on("/retrieve_future", {"sequences": [{"tokens": [7], "stop_reason": "stop"}]})
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = start_python(
        "-m", "gunicorn", "--preload", "--workers", "2", "--bind", f"127.0.0.1:{port}", "--chdir", str(tmp_path),
        "--graceful-timeout", "3", "--log-level", "warning", "preloaded:app",
        SERVER=server.url, PYTHONWARNINGS="ignore::DeprecationWarning",
    )  # fmt: skip
    answers: list[str] = []

    def ask() -> None:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as page,
        ):
            answers.append(page.read().decode())

    try:
        end = time.monotonic() + 120
        while len({answer.split()[0] for answer in answers}) < 2:
            assert time.monotonic() < end, (answers, process.poll())
            askers = [threading.Thread(target=ask) for _ in range(8)]
            for asker in askers:
                asker.start()
            for asker in askers:
                asker.join(60)
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=60)
    assert all(answer.endswith("[7]") for answer in answers)
    assert "Traceback" not in errors
    assert len(server.requests.to("/create_session")) == 1
    assert len(server.requests.to(FINISH)) == 1
    numbers = [request.json()["seq_id"] for request in server.requests.to("/asample")]
    assert len(numbers) == len(set(numbers))
