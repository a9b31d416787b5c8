"""A call takes a short way: the rooms (files at the top of the package, and its folders) that it enters."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest
from clients import datum, wait_until

import tinkex
from tinkex import types

PACKAGE = Path(tinkex.__file__).parent
PROMPT = types.ModelInput.from_ints([1, 2, 3])


def rooms(call: Callable[[], object]) -> set[str]:
    """The rooms whose functions run during ``call``, on this thread or on one that is started meanwhile."""
    entered: set[str] = set()

    def watch(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            path = Path(frame.f_code.co_filename)
            if PACKAGE in path.parents:
                entered.add(path.relative_to(PACKAGE).parts[0].removesuffix(".py"))

    threading.setprofile(watch)
    sys.setprofile(watch)
    try:
        call()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return entered - {"local"}  # the server


def no_idle_threads() -> bool:
    """Whether all workers have ended, so that the next call starts its own."""
    return not any(
        thread.name.startswith(("tinkex-work", "tinkex-sample")) for thread in threading.enumerate()
    )


def test_a_call_enters_few_rooms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinkex.concurrency.executor.IDLE_SECONDS", 0.01)
    with tinkex.ServiceClient(base_url="local://", heartbeat_interval=1000) as service:
        training = service.create_lora_training_client("tinkex/byte-lm", rank=4)
        sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
        data, adam, params = [datum(1, 2, 3)], types.AdamParams(), types.SamplingParams(max_tokens=1)
        training.forward_backward(data, "cross_entropy").result(60)  # which finds the server's format
        calls: dict[str, tuple[Callable[[], object], int]] = {
            "optim_step": (lambda: training.optim_step(adam).result(60), 7),
            "forward_backward": (lambda: training.forward_backward(data, "cross_entropy").result(60), 8),
            "sample": (lambda: sampler.sample(PROMPT, 1, params).result(60), 8),
        }
        for name, (call, most) in calls.items():
            wait_until(no_idle_threads)
            entered = rooms(call)
            assert {"api", "http", "polling"} <= entered, "the workers were watched too"
            assert len(entered) <= most, f"{name} enters {sorted(entered)}"
