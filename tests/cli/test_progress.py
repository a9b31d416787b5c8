"""Progress shows on a terminal, once the work takes long."""

from __future__ import annotations

import io
import sys
import threading

import click
import pytest

from tinkex.cli import progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal, and when something was written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.written.set()
        return super().write(text)


def test_a_bar_shows_on_a_terminal_once_the_work_takes_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "SHOW_AFTER", 60.0)
    with progress.progress("quick work") as update:
        update(1, 2)
    assert terminal.getvalue() == ""

    monkeypatch.setattr(progress, "SHOW_AFTER", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    with progress.progress("long work") as update:
        update(1, 2)
        assert terminal.written.wait(60)
        click.echo("the output")
        update(2, 2)
    assert "long work" in terminal.getvalue()
    assert "the output" not in terminal.getvalue()
    assert capsys.readouterr().out == "the output\n"
