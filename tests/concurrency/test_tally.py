"""Counts that many threads add to."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tinkex.concurrency.tally import Tally


def test_many_threads_lose_no_count() -> None:
    whole = Tally()
    tally = Tally(whole)
    start = threading.Barrier(8)

    def add() -> None:
        start.wait(60)
        for _ in range(2000):
            tally.add("m", one=1, two=2)

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(add) for _ in range(8)]:
            future.result(60)
    assert tally.read() == whole.read() == {"m": {"one": 16_000, "two": 32_000}}


def test_a_new_name_takes_over_what_was_counted() -> None:
    whole = Tally()
    tally = Tally(whole)
    tally.add("path", one=1)
    tally.add("model", one=2, two=3)
    tally.rename("path", "model")
    tally.rename("unknown", "model")
    assert tally.read() == whole.read() == {"model": {"one": 3, "two": 3}}
    tally.clear()
    assert tally.read() == {}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_counts_its_own() -> None:
    whole = Tally()
    tally = Tally(whole)
    tally.add("m", one=5)
    child = os.fork()
    if child == 0:
        try:
            tally.add("m", one=1)
            os._exit(0 if tally.read() == whole.read() == {"m": {"one": 1}} else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert tally.read() == {"m": {"one": 5}}
