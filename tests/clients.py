"""Clients for tests, quick to try again and quick to give up; what they send; and what they leave behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import tinkex
from tinkex import types
from tinkex.config import Config
from tinkex.testing import Request, TinkerServer
from tinkex.testing.leftovers import client_threads

BEAT = "/session_heartbeat"
FINISH = "/sessions/*/finish"
NOT_YET = {"type": "try_again", "queue_state": "active", "request_id": "x"}
"""The answer of a long poll that has run out."""
PROMPT = types.ModelInput.from_ints([1, 2])
PARAMS = types.SamplingParams(max_tokens=3, temperature=0.0)
TOKENS = [236, 143, 232]
"""What the embedded model says to ``PROMPT`` with ``PARAMS``."""


def config(server: TinkerServer, **settings: Any) -> Config:
    """A config for ``server`` whose waits are short."""
    quick = {
        "api_key": "tml-test",
        "retry_delay": 0.001,
        "retry_delay_max": 0.01,
        "max_tries": 4,
        "telemetry": False,
    }
    return Config(base_url=server.url, **{**quick, **settings})


def client_of(server: TinkerServer, **options: Any) -> tinkex.ServiceClient:
    """A client whose heartbeats are rare, unless ``options`` say otherwise."""
    return tinkex.ServiceClient(config=config(server), **{"heartbeat_interval": 5.0, **options})


def datum(*tokens: int) -> types.Datum:
    """A datum for cross entropy: each token is to be predicted from those before it."""
    return types.Datum(
        types.ModelInput.from_ints(list(tokens[:-1])),
        {"target_tokens": list(tokens[1:]), "weights": [1.0] * (len(tokens) - 1)},
    )


DATUM = datum(1, 2, 3)


def sample(sampler: tinkex.SamplingClient) -> list[int]:
    """The tokens of one sample."""
    return sampler.sample(PROMPT, 1, PARAMS).result(60).sequences[0].tokens


def seq_ids(server: TinkerServer, path: str = "*") -> list[int]:
    """The numbers of the requests that carry one, in the order of arrival."""
    numbered = []
    for request in server.requests.to(path):
        if request.headers.get("content-type") == "application/json":
            body = request.json()
            if "seq_id" in body:
                numbered.append(body["seq_id"])
    return numbered


def when(condition: Callable[[Request], bool], reply: Any) -> Callable[[Request], Any]:
    """A scripted reply for the requests that meet ``condition``; the default for others."""
    return lambda request: reply if condition(request) else None


def own_threads() -> set[threading.Thread]:
    """The threads of all clients."""
    return client_threads()


def wait_until(true: Callable[[], bool], timeout: float = 60.0) -> None:
    """Wait for what no event tells of. Fails after ``timeout`` s."""
    end = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < end, f"not within {timeout} s"
        time.sleep(0.005)


def no_new_worker_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, starting a worker thread fails as it does when the system has no more threads."""
    start = threading.Thread.start

    def fail(thread: threading.Thread) -> None:
        if thread.name.startswith("tinkex-work"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", fail)
