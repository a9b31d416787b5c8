"""The examples run as written and reach what they promise."""

from __future__ import annotations

import re
import subprocess

from programs import REPOSITORY, Command

from tinkex.cli.dataset import default_path, read_examples


def output_of(run: subprocess.CompletedProcess[str]) -> str:
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_supervised_learns_its_file(run_python: Command) -> None:
    output = output_of(run_python(str(REPOSITORY / "examples" / "supervised.py"), str(default_path())))
    nats = [float(value) for value in re.findall(r"loss ([\d.]+) nats", output)]
    assert nats[0] > 5
    assert nats[-1] < 0.5
    first = read_examples(default_path())[0]
    assert first.prompt + first.completion in output


def test_reinforcement_raises_the_reward(run_python: Command) -> None:
    output = output_of(run_python(str(REPOSITORY / "examples" / "reinforcement.py")))
    rewards = [float(value) for value in re.findall(r"mean reward ([\d.]+)", output)]
    assert rewards[0] < 0.3
    assert rewards[-1] > 0.8
