"""Programs run as people run them: in processes of their own, outside the source tree."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import programs
import pytest
from programs import Command


@pytest.fixture
def run_python(tmp_path: Path) -> Command:
    """``run_python(*arguments, **environment)`` runs the interpreter on the very ``tinkex`` under test."""
    return partial(programs.run_python, cwd=tmp_path)


@pytest.fixture
def tinkex_command(run_python: Command) -> Command:
    """``tinkex_command(*arguments, **environment)`` runs the command line."""
    return partial(run_python, "-m", "tinkex.cli")
