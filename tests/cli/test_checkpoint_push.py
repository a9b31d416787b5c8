"""``tinkex checkpoint push-hf`` against a hub that keeps what it is given."""

from __future__ import annotations

import base64
import http.server
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import KEY, Tinkex
from programs import Command

import tinkex
from tinkex.local import LocalServer

HUB_TOKEN = "hf_of_these_tests"
COMMIT = "0" * 40


class Hub(http.server.ThreadingHTTPServer):
    """As much of the hub's protocol as an upload needs; every file is small enough to come in the commit."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.created: list[Any] = []
        self.files: dict[str, bytes] = {}

    def answer(self, path: str, body: bytes) -> tuple[int, Any]:
        """Status, and content: bytes as they are, the rest as JSON."""
        if "/resolve/" in path:
            content = self.files.get(path.rpartition("/")[2])
            return (404, {}) if content is None else (200, content)
        if path == "/api/repos/create":
            self.created.append(json.loads(body))
            return 200, {"url": f"{self.url}/ada/blue", "id": "ada/blue"}
        if "/preupload/" in path:
            kind = {"uploadMode": "regular", "shouldIgnore": False}
            return 200, {"files": [{"path": file["path"], **kind} for file in json.loads(body)["files"]]}
        if "/commit/" in path:
            values = [json.loads(line) for line in body.splitlines()]
            files = [value["value"] for value in values if value["key"] == "file"]
            self.files |= {file["path"]: base64.b64decode(file["content"]) for file in files}
            return 200, {
                "success": True,
                "commitOid": COMMIT,
                "commitUrl": f"{self.url}/ada/blue/commit/{COMMIT}",
            }
        return 200, {"id": "ada/blue", "siblings": [], "errors": [], "warnings": []}


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Hub

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, content = self.server.answer(self.path, body)
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", '"one"')
        if status == 404:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_HEAD = do_POST = handle_any

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield running
        running.shutdown()


@pytest.fixture
def paths() -> Iterator[tuple[str, list[str]]]:
    """The URL of a server, and two checkpoints there."""
    with LocalServer(api_key=KEY) as running:
        config = tinkex.Config(base_url=running.base_url, api_key=KEY, telemetry=False)
        with tinkex.ServiceClient(config=config) as service:
            training = service.create_lora_training_client("tinkex/byte-lm", rank=2)
            yield running.base_url, [str(training.save_state(name).result().path) for name in ("a", "b")]


def test_a_checkpoint_goes_to_the_hub(
    hub: Hub, paths: tuple[str, list[str]], tinkex_command: Command, tmp_path: Path
) -> None:
    pytest.importorskip("huggingface_hub")
    url, (path, other) = paths
    environment = {
        "TINKER_BASE_URL": url,
        "TINKER_API_KEY": KEY,
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": HUB_TOKEN,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    push = ("checkpoint", "push-hf", path, "--repo", "ada/blue")
    run = tinkex_command(*push, "-f", "json", "--ignore-pattern", "*.json", **environment)
    assert run.returncode == 0, run.stderr
    done = json.loads(run.stdout)
    assert (done["repo_id"], done["public"]) == ("ada/blue", False)
    asked = hub.created[0]  # the hub's client says it in one way or the other, by its age
    assert asked.get("private") is True or asked.get("visibility") == "private"
    assert "adapter.safetensors" in hub.files
    assert not any(name.endswith(".json") for name in hub.files)
    card = hub.files["README.md"].decode()
    assert "base_model: tinkex/byte-lm" in card
    assert path in card
    assert KEY not in run.stdout + run.stderr + card
    assert HUB_TOKEN not in run.stdout + run.stderr

    clash = tinkex_command("checkpoint", "push-hf", other, "--repo", "ada/blue", **environment)
    assert clash.returncode == 1
    assert f"ada/blue holds {path} already" in clash.stderr
    assert clash.stderr.count("\n") == 1


def test_what_is_missing_is_named(
    tinkex_here: Tinkex, paths: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, (path, _) = paths
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    tinkex_here("checkpoint", "push-hf", path, "--base-url", url).fails(1, "pip install huggingface_hub")
    tinkex_here("checkpoint", "push-hf", "weights/one").fails(2, "tinker://")
