"""The embedded server in the foreground: ``tinkex serve``."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from commands import KEY, Tinkex
from programs import start_python

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
        tinkex_here("serve", "--port", url.rpartition(":")[2]).fails(1, "--port")
    finally:
        serving.send_signal(signal.SIGTERM)
        rest, errors = serving.communicate(timeout=60)
    assert (serving.returncode, rest, errors) == (0, "", "")
