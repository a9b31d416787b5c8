"""The command as people run it: a process of its own, the embedded server, real files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from programs import Command

import tinkex
from tinkex.local import LocalServer

PROSE = """\
A lighthouse keeper counts the ships that pass at night.

The first ship carries oranges and the second carries coal.
The third has no lights, and nobody knows what it carries.
In the morning he writes the numbers in a book bound in blue cloth.
"""
AWKWARD = """\
# Überschrift: ein Text mit Umlauten
def area(radius: float) -> float:
    # π times the square
    return 3.14159 * radius**2

def perimeter(radius: float) -> float:
    # twice π times the radius
    return 2 * 3.14159 * radius
    return None
    return None

}
}
"""


def field(output: str, name: str) -> str:
    found = re.search(rf"^{name}: +(.*)$", output, re.MULTILINE)
    assert found, f"no {name!r} in:\n{output}"
    return found.group(1)


def losses(output: str) -> tuple[float, float]:
    """Nats per byte before and after training."""
    before, after = re.findall(
        r"^loss (?:before|after) training +([\d.]+) nats per byte", output, re.MULTILINE
    )
    return float(before), float(after)


def assert_learned(run: subprocess.CompletedProcess[str]) -> None:
    assert run.returncode == 0, run.stderr
    before, after = losses(run.stdout)
    assert before > 5
    assert after < 0.5
    assert field(run.stdout, "before") != field(run.stdout, "expected")
    assert field(run.stdout, "after") == field(run.stdout, "expected")
    assert field(run.stdout, "learned") == "yes, word for word"


def test_without_arguments_it_learns_the_data_set_that_ships(tinkex_command: Command) -> None:
    run = tinkex_command("quickstart")
    assert_learned(run)
    assert "learns 24 examples of tinkex.jsonl" in run.stdout
    assert "loss, nats per byte" in run.stdout
    assert "█" in run.stdout
    assert "\ntokens: tinkex/byte-lm: " in run.stdout
    assert run.stderr == ""


@pytest.mark.parametrize("text", [PROSE, AWKWARD], ids=["prose", "awkward"])
def test_it_learns_any_text_file(tinkex_command: Command, tmp_path: Path, text: str) -> None:
    path = tmp_path / "text.txt"
    path.write_text(text, encoding="utf-8")
    assert_learned(tinkex_command("quickstart", str(path)))


def test_it_asks_the_prompt_it_is_given(tinkex_command: Command, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text(PROSE, encoding="utf-8")
    run = tinkex_command("quickstart", str(path), "--prompt", "The third has no lights")
    assert_learned(run)
    assert field(run.stdout, "after") == ", and nobody knows what it carries."


def test_a_large_file_is_learned_in_part_and_it_says_so(tinkex_command: Command, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text(PROSE, encoding="utf-8")
    run = tinkex_command("quickstart", str(path), "--max-bytes", "120", "--steps", "2")
    assert run.returncode == 0, run.stderr
    assert "learns 2 examples of text.txt (2 more are beyond --max-bytes 120)" in run.stdout
    assert field(run.stdout, "learned").startswith("not yet")


def test_it_runs_against_another_server(tinkex_command: Command) -> None:
    with LocalServer(api_key="tml-another") as server:
        arguments = ("quickstart", "--base-url", server.base_url, "--steps", "3")
        run = tinkex_command(*arguments, TINKER_API_KEY="tml-another")
        assert run.returncode == 0, run.stderr
        assert server.base_url in run.stdout

        refused = tinkex_command(*arguments, TINKER_API_KEY="tml-wrong")
        assert refused.returncode == 1
        assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["quickstart", "no-such-file.txt"], 2, "does not exist"),
        (["quickstart", "--steps", "0"], 2, "--steps"),
        (["quickstart", "--learning-rate", "0"], 2, "--learning-rate"),
        (["quickstart", "--prompt", ""], 2, "--prompt is empty"),
        (["quickstart", "--base-url", "http://127.0.0.1:9"], 2, "TINKER_API_KEY"),
        (["quickstart", "--base-url", "nonsense"], 2, "nonsense"),
        (["quickstart", "--model", "no/such-model"], 1, "no/such-model"),
        (["no-such-command"], 2, "no-such-command"),
    ],
)
def test_mistakes_are_told_in_words(
    tinkex_command: Command, arguments: list[str], status: int, words: str
) -> None:
    run = tinkex_command(*arguments)
    assert run.returncode == status
    assert words in run.stderr
    assert "Traceback" not in run.stderr


def test_an_empty_file_is_one_line_of_error(tinkex_command: Command, tmp_path: Path) -> None:
    path = tmp_path / "empty.txt"
    path.write_text("\n", encoding="utf-8")
    run = tinkex_command("quickstart", str(path))
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1


def test_the_version_is_the_package_s(tinkex_command: Command) -> None:
    assert tinkex.__version__ in tinkex_command("--version").stdout


def test_a_missing_extra_names_the_cure(run_python: Command) -> None:
    run = run_python("-c", "import sys; sys.modules['click'] = None; import tinkex.cli as cli; cli.main()")
    assert run.returncode == 1
    assert f"{sys.executable} -m pip install 'click>=" in run.stderr
    assert run.stderr.count("\n") == 1


def test_json_is_one_document_with_all_that_was_learned(tinkex_command: Command) -> None:
    run = tinkex_command("quickstart", "--format", "json")
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    assert report["loss_before"] > 5
    assert report["loss_after"] < 1
    assert report["learned"] is True
    assert report["usage"]["tinkex/byte-lm"]["train"] > 10_000
    assert report["answer_after"] == report["expected"] != report["answer_before"]
    assert len(report["losses"]) > 10
