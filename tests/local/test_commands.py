"""The two commands that serve: ``python -m tinkex.local`` and ``tinkex serve``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

import tinkex

COMMANDS = (["-m", "tinkex.local"], ["-m", "tinkex.cli", "serve"])
KEY = "tml-of-the-environment"


@contextmanager
def serving(*arguments: str, key: str | None) -> Iterator[str]:
    """A command that serves, with a key in its environment; its URL."""
    environment = {**os.environ, "PYTHONPATH": str(Path(tinkex.__file__).parents[1])}
    if key is not None:
        environment["TINKEX_LOCAL_API_KEY"] = key
    command = [sys.executable, *arguments, "--port", "0"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            found = re.search(r"http://[0-9.]+:[0-9]+", process.stdout.readline())
            assert found is not None
            yield found.group()
        finally:
            process.terminate()
        assert process.stderr.read() == ""
        assert process.wait(60) == 0


def status(url: str, **headers: str) -> int:
    return requests.get(f"{url}/api/v1/get_server_capabilities", headers=headers, timeout=9).status_code


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_key_may_come_from_the_environment(command: list[str]) -> None:
    with serving(*command, key=KEY) as url:
        assert status(url) == 401
        assert status(url, **{"X-API-Key": KEY}) == 200


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_empty_variable_asks_for_no_key(command: list[str]) -> None:
    with serving(*command, key="") as url:
        assert status(url) == 200


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_options_come_before_the_environment(command: list[str]) -> None:
    options = ["--api-key", "tml-other", "--allow-host", "one.example", "--allow-host", "two.example"]
    with serving(*command, *options, key=KEY) as url:
        assert status(url, **{"X-API-Key": KEY}) == 401
        for host, expected in (("one.example", 200), ("two.example:80", 200), ("three.example", 403)):
            assert status(url, **{"X-API-Key": "tml-other", "Host": host}) == expected


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_names_the_variable(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *command, "--help"],
        env={**os.environ, "PYTHONPATH": str(Path(tinkex.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "TINKEX_LOCAL_API_KEY" in done.stdout
    assert "--allow-host" in done.stdout
