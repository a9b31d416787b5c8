"""Programs run as people run them: in processes of their own, outside the source tree."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import tinkex

RunPython = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run_python(tmp_path: Path) -> RunPython:
    """``run_python(*arguments, **environment)`` runs the interpreter on the very ``tinkex`` under test."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TINKER_")}
    clean |= {"PYTHONPATH": str(Path(tinkex.__file__).parents[1]), "PYTHONIOENCODING": "utf-8"}

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            env={**clean, **environment},
            cwd=tmp_path,
            capture_output=True,
            encoding="utf-8",
            timeout=100,
            check=False,
        )

    return run


@pytest.fixture
def tinkex_command(run_python: RunPython) -> RunPython:
    """``tinkex_command(*arguments, **environment)`` runs the command line."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return run_python("-m", "tinkex.cli", *arguments, **environment)

    return run
