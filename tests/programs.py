"""Programs that import ``tinkex``: in processes of their own, away from the source tree."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import tinkex

REPOSITORY = Path(__file__).parents[1]
HOME_OF_TINKEX = Path(tinkex.__file__).parents[1]

Command = Callable[..., "subprocess.CompletedProcess[str]"]
"""Runs a program with these arguments; keywords are environment variables."""


def environment(**settings: str) -> dict[str, str]:
    """The environment of the tests, in which a program finds the very ``tinkex`` under test."""
    return {**os.environ, "PYTHONPATH": str(HOME_OF_TINKEX), "PYTHONIOENCODING": "utf-8", **settings}


def start_python(*arguments: str, cwd: str | Path = HOME_OF_TINKEX, **settings: str) -> subprocess.Popen[str]:
    """Start the interpreter with pipes to its standard streams; ``settings`` are environment variables."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=environment(**settings),
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def run_python(
    *arguments: str, cwd: str | Path = HOME_OF_TINKEX, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run the interpreter until it ends; ``settings`` are environment variables."""
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment(**settings),
        cwd=cwd,
        capture_output=True,
        encoding="utf-8",
        timeout=100,
        check=False,
    )


def run_code(code: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run ``code``, which must succeed."""
    done = run_python("-c", textwrap.dedent(code), *arguments, **settings)
    assert done.returncode == 0, done.stderr
    return done
