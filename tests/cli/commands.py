"""The command line in this process: quick, and with the streams and the status that a shell would see."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tinkex.cli.app import cli

KEY = "tml-the-key-of-these-tests"


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout."""
        return json.loads(self.out)

    def fails(self, status: int, *words: str) -> None:
        """Check that it failed so, in one line with these words in it."""
        assert self.status == status, self
        assert self.err.startswith("Error: "), self
        assert self.err.count("\n") == 1, self
        assert all(word in self.err for word in words), self


Tinkex = Callable[..., Outcome]


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
