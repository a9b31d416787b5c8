"""A process that serves ends quietly, whatever is pending."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import tinkex

# At the end of each program every thread of the server holds a poll of a pending sample.
POLLS = """if True:
    import atexit, threading, requests
    from tinkex.local import LocalServer, embedded
    from tinkex.local.work.promises import Promise
    polling, wait = threading.Semaphore(0), Promise.wait
    Promise.wait = lambda promise, seconds: polling.release() or wait(promise, seconds)

    def post(path, timeout=20, **body):
        headers = {"X-API-Key": server.api_key}
        return requests.post(server.base_url + "/api/v1/" + path, json=body, headers=headers, timeout=timeout)

    def poll(promise):
        try:
            post("retrieve_future", **promise)
        except requests.RequestException:
            pass

    def start_polls():
        session = post("create_session").json()["session_id"]
        slot = {"session_id": session, "sampling_session_seq_id": 0, "base_model": "tinkex/byte-lm"}
        sampler = post("create_sampling_session", **slot).json()["sampling_session_id"]
        for _ in range(20):
            wanted = {"prompt": {"chunks": [{"tokens": [1]}]}, "sampling_params": {"max_tokens": 30000}}
            promise = post("asample", sampling_session_id=sampler, num_samples=8, **wanted).json()
            threading.Thread(target=poll, args=[{"request_id": promise["request_id"]}], daemon=True).start()
        for _ in range(20):
            assert polling.acquire(timeout=20)
"""


def run(program: str) -> tuple[str, float]:
    """What the program prints, and how long it took to end after that; it must complain of nothing."""
    text = POLLS + program
    done = subprocess.run(
        [sys.executable, "-c", text],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
        cwd=Path(tinkex.__file__).parents[1],
    )
    ended = time.time()
    assert done.stderr == ""
    output, _, at = done.stdout.strip().rpartition("\n")
    return output, ended - float(at)


def test_an_embedded_server_ends_with_samples_pending() -> None:
    _, seconds = run("""
    import time
    server = embedded(None)
    start_polls()
    print(time.time())
""")
    assert seconds < 10


def test_a_server_that_nobody_stopped_ends_with_samples_pending() -> None:
    _, seconds = run("""
    import time
    server = LocalServer().start()
    start_polls()
    print(time.time())
""")
    assert seconds < 10


def test_a_request_that_finds_no_thread_waits_for_one() -> None:
    # Some versions of Python start no threads once the interpreter exits, while clients still say goodbye.
    output, _ = run("""
    import time
    server = LocalServer(poll_timeout=3).start()
    start_polls()

    def refuse(thread):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    @atexit.register
    def goodbye():
        threading.Thread.start = refuse
        print(post("client/config").status_code)
        print(time.time())
""")
    assert output == "200"
