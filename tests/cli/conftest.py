"""The command line: in this process, which is quick, and as people run it, in one of its own."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import programs
import pytest
from commands import KEY, Held, Outcome, Tinkex
from programs import Command

import tinkex
from tinkex.cli.app import cli
from tinkex.local import LocalServer


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


@pytest.fixture(scope="module")
def filled() -> Iterator[LocalServer]:
    with LocalServer(api_key=KEY) as server:
        yield server


@pytest.fixture
def held(filled: LocalServer, monkeypatch: pytest.MonkeyPatch) -> Held:
    config = tinkex.Config(base_url=filled.base_url, api_key=KEY, telemetry=False)
    monkeypatch.setenv("TINKER_BASE_URL", filled.base_url)
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    service = tinkex.ServiceClient(
        config=config, display_name="Blue night", user_metadata={"team": "blue"}, project_id="p-1"
    )
    with service:
        training = service.create_lora_training_client("tinkex/byte-lm", rank=2, seed=0)
        state = training.save_state("one").result().path
        other = training.save_state("two").result().path
        sampler = training.save_weights_for_sampler("three").result().path
        assert state is not None
        assert other is not None
        assert sampler is not None
        return Held(filled.base_url, service.session_id, state.split("/")[2], state, other, sampler)
