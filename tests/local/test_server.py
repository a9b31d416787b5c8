"""The server as a process: many polls, quick stops, quiet exits."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
import requests
from waitress.trigger import trigger

from tinkex.local import LocalServer, embedded
from tinkex.local.byte_tokenizer import ByteTokenizer

from .conftest import Api


def test_hundreds_of_long_polls_and_a_quick_stop() -> None:
    before = set(threading.enumerate())
    server = LocalServer().start()
    api = Api(server)
    model = api.model()
    ids = [api.post("optim_step", model_id=model, seq_id=n)["request_id"] for n in range(2, 302)]
    connections = []
    for request_id in ids:
        connection = http.client.HTTPConnection(server.base_url.removeprefix("http://"), timeout=30)
        body = f'{{"request_id": "{request_id}"}}'
        connection.request("POST", "/api/v1/retrieve_future", body, {"Content-Type": "application/json"})
        connections.append(connection)
    deadline = time.monotonic() + 20
    while sum(thread.name.startswith("waitress") for thread in set(threading.enumerate()) - before) < 300:
        assert time.monotonic() < deadline
    assert api.get("healthz") == {"status": "ok"}
    started = time.monotonic()
    server.stop()
    assert time.monotonic() - started < 20  # and not the 30 s that a poll is held
    statuses = []
    for connection in connections:
        statuses.append(connection.getresponse().status)
        connection.close()
    assert statuses == [503] * 300
    api.http.close()
    left = [thread for thread in threading.enumerate() if thread not in before]
    for thread in left:
        thread.join(60)
    assert not any(thread.is_alive() for thread in left)


def test_connections_are_kept_alive(api: Api) -> None:
    connection = http.client.HTTPConnection(api.root.split("/")[2], timeout=9)
    connection.request("GET", "/api/v1/healthz")
    assert connection.getresponse().read()
    socket = connection.sock
    times = []
    for _ in range(20):
        started = time.perf_counter()
        connection.request("POST", "/api/v1/client/config", "{}", {"Content-Type": "application/json"})
        assert connection.getresponse().read()
        times.append(time.perf_counter() - started)
    assert connection.sock is socket
    # A delayed acknowledgement would cost 40 ms each; a busy machine is slow at times.
    assert sorted(times)[2] < 0.03
    connection.close()


def test_a_stopped_server_starts_again_on_its_port() -> None:
    server = LocalServer()
    for _ in range(2):
        with server:
            url = server.base_url
            assert requests.get(url + "/api/v1/healthz", timeout=9).ok
    assert server.base_url == url


def test_the_embedded_server_is_one_with_a_key_of_its_own() -> None:
    server = embedded(None)
    assert embedded() is server
    assert server.api_key.startswith("tml-")
    url = server.base_url + "/api/v1/get_server_capabilities"
    assert requests.get(url, timeout=9).status_code == 401
    assert requests.get(url, headers={"X-API-Key": server.api_key}, timeout=9).ok


def test_a_process_with_an_embedded_server_ends_at_once() -> None:
    program = """if True:
        import threading, time, requests
        from tinkex.local import embedded
        from tinkex.local.work.promises import Promise
        polling, wait = threading.Event(), Promise.wait
        Promise.wait = lambda promise, seconds: polling.set() or wait(promise, seconds)
        server = embedded(None)
        post = lambda path, **body: requests.post(server.base_url + "/api/v1/" + path, json=body,
                                                  headers={"X-API-Key": server.api_key}).json()
        slot = {"session_id": post("create_session")["session_id"], "model_seq_id": 0}
        model = post("create_model", **slot, base_model="tinkex/byte-lm")["model_id"]
        late = post("optim_step", model_id=model, seq_id=3)
        threading.Thread(target=post, args=["retrieve_future"], kwargs=late, daemon=True).start()
        assert polling.wait(20)
        print(time.time())
    """
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert time.time() - float(done.stdout) < 20  # and not the 30 s that a poll is held
    assert done.stderr == ""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_told_to_stop(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "tinkex.local", "--port", "0", "--api-key", "tml-k"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline().split()[-1]
        try:
            assert requests.get(url + "/api/v1/healthz", timeout=9).ok
        finally:
            process.send_signal(number)
        assert process.wait(60) == 0
        assert process.stderr.read() == ""


def test_the_tokenizer_needs_nothing() -> None:
    tokenizer = ByteTokenizer()
    text = "naïve — 漢字"
    assert tokenizer.decode([*tokenizer.encode(text), tokenizer.eos_token_id]) == text
    assert tokenizer.vocab_size == len(tokenizer) == 257
    with pytest.raises(ValueError, match="vocabulary"):
        tokenizer.decode([257])
    program = (
        "import sys; sys.modules.update(numpy=None, flask=None, waitress=None, safetensors=None)\n"
        "from tinkex.local.byte_tokenizer import ByteTokenizer\n"
        "try:\n    from tinkex.local import LocalServer\n"
        "except ImportError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert f"{sys.executable} -m pip install 'numpy>=" in done.stdout


def test_a_server_whose_thread_ends_before_it_is_woken_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    wake = trigger.pull_trigger
    others = set(threading.enumerate())
    server = LocalServer().start()
    (thread,) = [
        one for one in threading.enumerate() if one not in others and one.name == "tinkex-local-http"
    ]

    def late(self: Any, thunk: Any = None) -> None:
        if threading.current_thread() is threading.main_thread():
            # Something else, here a connection, wakes the thread, which sees that it is to end.
            socket.create_connection(("127.0.0.1", int(server.base_url.rpartition(":")[2]))).close()
            thread.join(60)
        wake(self, thunk)

    monkeypatch.setattr(trigger, "pull_trigger", late)
    server.stop()
    assert not thread.is_alive()
