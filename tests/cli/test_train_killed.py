"""``tinkex train`` killed in the middle, and started again: the model and the metrics are those of a quiet run."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from programs import run_python, start_python
from safetensors.numpy import load_file
from train_data import SUMS, write_chats

from tinkex.local import LocalServer

OPTIONS = ("--steps", "60", "--batch-size", "8", "--save-every", "5", "--eval-every", "10", "--seed", "3")
KEY = "tml-local"


class Trainings:
    """Runs of the same command, each kind with a folder and a home of its own."""

    def __init__(self, folder: Path, url: str, *more: str) -> None:
        self.folder = folder
        folder.mkdir()
        data = write_chats(folder / "chat.jsonl", SUMS)
        self.command: tuple[str, ...] = (
            "-m",
            "tinkex",
            "train",
            data,
            "--model",
            "tinkex/byte-lm",
            "--save",
            "sums",
            "--eval",
            data,
        )
        self.command += (*OPTIONS, "--base-url", url, *more)
        self.settings = {"HOME": str(folder), "TINKER_API_KEY": KEY, "TINKER_TELEMETRY": "0"}

    def start(self) -> subprocess.Popen[str]:
        return start_python(*self.command, cwd=self.folder, **self.settings)

    def run(self) -> str:
        done = run_python(*self.command, cwd=self.folder, **self.settings)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stop_at(self, step: int, number: int) -> tuple[int, str]:
        """Start the command, and send a signal once it has shown ``step``; return its status and its last words."""
        process = self.start()
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("step") and int(line.split()[1].split("/")[0]) >= step:
                break
        process.send_signal(number)
        _, said = process.communicate(timeout=100)
        return process.returncode, said

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of the metrics without the times."""
        lines = (self.folder / "runs" / "sums" / "metrics.jsonl").read_text("utf-8").splitlines()
        return [{**json.loads(line), "seconds": None} for line in lines]

    def weights(self) -> dict[str, bytes]:
        """The tensors of the trained model, to the last bit."""
        target = self.folder / "models"
        command = ("-m", "tinkex", "checkpoint", "download", "sums", "--output", str(target), "--force")
        done = run_python(*command, cwd=self.folder, **self.settings)
        assert done.returncode == 0, done.stderr
        [path] = target.rglob("*.safetensors")
        return {name: tensor.tobytes() for name, tensor in load_file(path).items()}


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Trainings:
    folder = tmp_path_factory.mktemp("quiet")
    made = Trainings(folder / "run", f"local://{folder / 'server'}")
    made.run()
    return made


def same(one: Trainings, other: Trainings) -> None:
    assert [row["step"] for row in one.metrics()] == list(range(1, 61))
    assert one.metrics() == other.metrics()
    assert one.weights() == other.weights()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")
def test_killed_twice_with_its_server(tmp_path: Path, quiet: Trainings) -> None:
    trainings = Trainings(tmp_path / "run", f"local://{tmp_path / 'server'}")
    for step in (12, 33):
        status, _ = trainings.stop_at(step, signal.SIGKILL)
        assert status == -signal.SIGKILL
    assert "resuming after step" in trainings.run()
    same(trainings, quiet)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")
def test_killed_twice_while_the_server_lives_on(tmp_path: Path, quiet: Trainings) -> None:
    with LocalServer(api_key=KEY) as server:
        trainings = Trainings(tmp_path / "run", server.base_url)
        for step in (3, 27):
            trainings.stop_at(step, signal.SIGKILL)
        trainings.run()
        same(trainings, quiet)


def test_a_server_that_is_started_again_costs_no_step(tmp_path: Path, quiet: Trainings) -> None:
    with LocalServer(tmp_path / "server", api_key=KEY) as server:
        trainings = Trainings(tmp_path / "run", server.base_url)
        process = trainings.start()
        assert process.stdout is not None
        shown = 0
        for line in process.stdout:
            shown += line.startswith("step")
            if shown in (4, 9) and line.startswith("step"):
                server.stop()
                server.start()
        _, said = process.communicate(timeout=100)
        assert process.returncode == 0, said
        same(trainings, quiet)


def test_interrupted_it_says_what_it_saved(tmp_path: Path, quiet: Trainings) -> None:
    trainings = Trainings(tmp_path / "run", f"local://{tmp_path / 'server'}")
    status, said = trainings.stop_at(18, signal.SIGINT)
    assert status == 130
    assert "saved up to step" in said
    assert "tinker://" in said
    assert "Traceback" not in said
    trainings.run()
    same(trainings, quiet)
