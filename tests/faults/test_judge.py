"""The matrix finds what it looks for: calls that do each wrong on purpose, and are found out."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from . import cell as judge
from .bench import Bench, submit
from .calls import CALLS, Call
from .catalogue import FAULTS
from .cell import Cell, Part, Trainee

_TRAINING = CALLS["forward_backward"]


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with Bench() as running:
        yield running


def _kinds(bench: Bench, act: Any, fault: str = "nothing") -> list[str]:
    """What is found if ``act`` is what forward_backward does."""
    call = Call("planted", _TRAINING.sites, act, _TRAINING.prepare, _TRAINING.judge)
    verdict = Cell(bench, FAULTS[fault], call, "submit", "once").run()
    return [kind for kind, _ in verdict.findings]


def _train(cell: Cell) -> Trainee:
    train: Trainee = cell.have["train"]
    return train


def test_a_run_without_a_fault_has_no_findings(bench: Bench) -> None:
    assert _kinds(bench, _TRAINING.act) == []


def test_a_step_that_was_promised_and_not_done_is_lost(bench: Bench) -> None:
    def act(cell: Cell) -> None:
        _train(cell).parts.append(Part("B", (1,)))

    assert _kinds(bench, act) == ["lost"]


def test_a_step_that_was_refused_and_done_is_doubled(bench: Bench) -> None:
    def act(cell: Cell) -> None:
        submit(_train(cell).client, "B").result(10)
        _train(cell).parts.append(Part("B", (0,)))

    assert _kinds(bench, act) == ["doubled"]


def test_a_step_that_was_done_twice_is_doubled(bench: Bench) -> None:
    def act(cell: Cell) -> None:
        submit(_train(cell).client, "B").result(10)
        _train(cell).call("B")

    assert _kinds(bench, act) == ["doubled"]


def test_a_gradient_that_is_not_yet_used_counts(bench: Bench) -> None:
    """The judge uses up what the calls left; two batches that differ leave different states."""
    with bench.direct() as service:
        states = []
        for label in ("A", "B"):
            model = bench.new_model(service)
            submit(model, label).result(10)
            states.append(bench.state(model.model_id))
    assert states[0] != states[1]


def test_another_value_is_wrong(bench: Bench) -> None:
    def act(cell: Cell) -> None:
        _train(cell).call("B")
        _train(cell).parts[-1] = Part("B", (1,), [{"logprobs": [0.0]}])

    assert _kinds(bench, act) == ["wrong"]


def test_an_error_that_is_none_of_ours_is_untyped(bench: Bench) -> None:
    def act(cell: Cell) -> None:
        raise ValueError("odd bytes")

    assert _kinds(bench, act) == ["untyped"]


def test_threads_and_sockets_that_stay_are_leaks(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "LEAVING", 0.1)
    done = threading.Event()
    held: list[socket.socket] = []

    def act(cell: Cell) -> None:
        threading.Thread(target=done.wait, name="tinkex-forgotten").start()
        held.append(socket.create_connection(("127.0.0.1", cell.bench.proxy.port)))

    assert _kinds(bench, act) == ["leak", "leak"]
    done.set()
    held[0].close()


@pytest.mark.parametrize("where", ["log", "error"])
def test_the_key_is_found_in_a_log_and_in_an_error(bench: Bench, where: str) -> None:
    def act(cell: Cell) -> None:
        if where == "log":
            logging.getLogger("somebody").debug("with %s", cell.key)
        else:
            raise ValueError("bad") from ValueError(cell.key)

    assert "key" in _kinds(bench, act)


def test_the_key_is_found_at_another_host(bench: Bench) -> None:
    def act(cell: Cell) -> None:
        with socket.create_connection(("127.0.0.1", cell.bench.other.port)) as there:
            there.sendall(f"GET / HTTP/1.1\r\nX-API-Key: {cell.key}\r\n\r\n".encode())
            there.recv(100)

    assert _kinds(bench, act) == ["key"]


def test_a_call_that_does_not_end_is_a_hang(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "BOUND", 0.5)

    def act(cell: Cell) -> Any:
        return cell.wait(submit(_train(cell).client, "B"))

    assert "hang" in _kinds(bench, act, "silence.before")
