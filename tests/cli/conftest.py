"""The command line: in this process, which is quick, and as people run it, in one of its own."""

from __future__ import annotations

import io
import sys
from functools import partial
from pathlib import Path

import programs
import pytest
from commands import KEY, Outcome, Tinkex
from programs import Command

from tinkex.cli.app import cli


@pytest.fixture
def run_python(tmp_path: Path) -> Command:
    """``run_python(*arguments, **environment)`` runs the interpreter on the very ``tinkex`` under test."""
    return partial(programs.run_python, cwd=tmp_path)


@pytest.fixture
def tinkex_command(run_python: Command) -> Command:
    """``tinkex_command(*arguments, **environment)`` runs the command line."""
    return partial(run_python, "-m", "tinkex.cli")


@pytest.fixture
def tinkex_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Tinkex:
    """``tinkex_here(*arguments, stdin="")``, with a home and a working directory that are ``tmp_path``."""
    monkeypatch.chdir(tmp_path)
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))

    def run(*arguments: str, stdin: str = "") -> Outcome:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            cli.main(list(arguments), prog_name="tinkex")
        captured = capsys.readouterr()
        assert KEY not in captured.out + captured.err
        assert "Traceback" not in captured.err
        status = exit_.value.code
        return Outcome(status if isinstance(status, int) else 0, captured.out, captured.err)

    return run
