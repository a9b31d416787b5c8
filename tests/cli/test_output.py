"""Tables on a terminal, which a pseudo-terminal stands for."""

from __future__ import annotations

import os
import subprocess
import sys

import programs
import pytest
from commands import KEY, Held

pty = pytest.importorskip("pty", reason="there are no pseudo-terminals on this system")


@pytest.mark.parametrize("width", [80, 300])
def test_a_path_is_whole_on_one_line(held: Held, width: int) -> None:
    ours, its = pty.openpty()
    command = [sys.executable, "-m", "tinkex.cli", "checkpoint", "list", "--run-id", held.run]
    environment = programs.environment(
        TINKER_BASE_URL=held.url, TINKER_API_KEY=KEY, COLUMNS=str(width), TERM="xterm"
    )
    with subprocess.Popen(command, stdout=its, stderr=subprocess.PIPE, env=environment) as listing:
        os.close(its)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 1 << 16)
            except OSError:  # the other side is closed
                break
        assert listing.wait(60) == 0
    os.close(ours)
    lines = shown.decode().replace("\r", "").splitlines()
    for path in (held.state, held.other, held.sampler):
        assert sum(path in line for line in lines) == 1
    assert all(len(line) <= width for line in lines), lines
    assert sum("training" in line for line in lines) == 2
