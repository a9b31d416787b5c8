"""Failures of a command are one line and a status, whatever failed."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
from commands import KEY, Held, Tinkex
from programs import run_python, start_python

from tinkex.testing import Hang, Reply, TinkerServer


def test_a_wrong_key_and_a_wrong_place(
    tinkex_here: Tinkex, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    tinkex_here("run", "list", "--base-url", "http://127.0.0.1:9").fails(1, "127.0.0.1:9", "--base-url")
    tinkex_here("run", "list", "--base-url", "nonsense").fails(2, "nonsense")
    monkeypatch.setenv("TINKER_API_KEY", "tml-wrong")
    refused = tinkex_here("run", "list")
    refused.fails(1, "401", "TINKER_API_KEY")
    assert "tml-wrong" not in refused.err
    monkeypatch.delenv("TINKER_API_KEY")
    tinkex_here("run", "list").fails(2, "no API key", "tinkex auth login")


def test_what_a_server_says_cannot_act_on_the_terminal(
    tinkex_here: Tinkex, server: TinkerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    monkeypatch.setenv("TINKER_BASE_URL", server.url)
    server.on("/get_server_capabilities", {"supported_models": [{"model_name": "red\x1b[31m"}]})
    assert "red\\x1b[31m" in tinkex_here("model", "list").out
    server.on("/get_server_capabilities", Reply(400, {"detail": "no\x1b[31m\nway"}))
    tinkex_here("model", "list").fails(1, "no\\x1b[31m way")


def test_a_reader_that_has_seen_enough(held: Held, tmp_path: Path) -> None:
    writing = start_python("-m", "tinkex.cli", "checkpoint", "list", cwd=tmp_path)
    assert writing.stdout is not None
    assert writing.stderr is not None
    writing.stdout.close()
    assert writing.stderr.read() == ""
    writing.stderr.close()
    assert writing.wait(60) == 1


@pytest.mark.parametrize("command", [["model", "list", "--base-url", "local://"], ["serve"], ["quickstart"]])
def test_a_missing_package_of_the_embedded_server_is_named_with_its_extra(
    tinkex_here: Tinkex, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    tinkex_here(*command).fails(1, "numpy", "-m pip install", "safetensors>=")


def test_ctrl_c_is_one_line_and_the_status_that_shells_expect(server: TinkerServer) -> None:
    hang = Hang()
    server.on("/get_server_capabilities", hang)
    waiting = start_python(
        "-m", "tinkex.cli", "model", "list", TINKER_BASE_URL=server.url, TINKER_API_KEY=KEY
    )
    server.requests.wait_for("/get_server_capabilities")
    waiting.send_signal(signal.SIGINT)
    out, errors = waiting.communicate(timeout=60)
    assert (waiting.returncode, out, errors) == (130, "", "Interrupted\n")


def test_the_embedded_server_without_its_packages_is_one_line() -> None:
    program = (
        "import runpy, sys; sys.modules['numpy'] = None; sys.argv = ['tinkex.local'];"
        "runpy.run_module('tinkex.local', run_name='__main__')"
    )
    done = run_python("-c", program)
    assert done.returncode == 1
    assert done.stderr.startswith("the embedded server needs numpy: ")
    assert done.stderr.count("\n") == 1
