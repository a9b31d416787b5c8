"""The embedded server in the foreground: ``tinkex serve``."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from commands import KEY, Tinkex
from programs import run_python, start_python

import tinkex


def test_serve(tinkex_here: Tinkex, tmp_path: Path) -> None:
    where = ("--port", "0", "--directory", str(tmp_path / "kept"))
    serving = start_python("-m", "tinkex.cli", "serve", *where, "--api-key", KEY, "--format", "json")
    try:
        assert serving.stdout is not None
        printed = "".join(iter(serving.stdout.readline, "}\n")) + "}"
        url = json.loads(printed)["base_url"]
        config = tinkex.Config(base_url=url, api_key=KEY, telemetry=False)
        with tinkex.RestClient(config=config) as client:
            assert client.get_server_capabilities().result(60).supported_models
        tinkex_here("serve", "--port", url.rpartition(":")[2]).fails(1, "the port is in use")
    finally:
        serving.send_signal(signal.SIGTERM)
        rest, errors = serving.communicate(timeout=60)
    assert (serving.returncode, rest, errors) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--directory", "{tmp}/file/kept"), 1, ("cannot keep checkpoints in", "file/kept")),
        (("--host", "192.0.2.1"), 1, ("192.0.2.1", "not an address of this machine")),
        (("--api-key", "foo"), 2, ("api_key", "tml-")),
    ],
)
def test_what_cannot_be_served_is_named(
    tinkex_here: Tinkex, tmp_path: Path, arguments: tuple[str, ...], status: int, words: tuple[str, ...]
) -> None:
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    filled_in = [argument.format(tmp=tmp_path) for argument in arguments]
    tinkex_here("serve", *filled_in).fails(status, *words)
    done = run_python("-m", "tinkex.local", *filled_in)
    assert done.returncode == status
    assert done.stderr.count("\n") == 1
    assert all(word in done.stderr for word in words)
