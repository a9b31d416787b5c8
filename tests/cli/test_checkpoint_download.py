"""``tinkex checkpoint download``: to a folder, and through an export."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import KEY, Held, Tinkex

from tinkex.testing import Reply, TinkerServer


def test_download(tinkex_here: Tinkex, held: Held, tmp_path: Path) -> None:
    done = tinkex_here("checkpoint", "download", held.state, "-o", "sub", "-f", "json")
    folder = Path(done.json["destination"])
    assert done.err == ""
    assert folder.parent == Path("sub")
    assert folder.name.endswith("_weights_one")
    files = [file for file in folder.iterdir() if file.stat().st_size]
    assert {file.suffix for file in files} >= {".safetensors"}
    assert done.json["file_size_bytes"] == sum(file.stat().st_size for file in files)

    tinkex_here("checkpoint", "download", held.state, "-o", "sub").fails(2, str(folder), "--force")
    assert str(folder) in tinkex_here("checkpoint", "download", held.state, "-o", "sub", "--force").out
    tinkex_here("checkpoint", "download", held.state + "x").fails(1, "one")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sub"]


def test_download_through_an_export(
    tinkex_here: Tinkex, server: TinkerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that hands out training checkpoints only as exports: one is made, fetched and deleted."""
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    path, export, deleted = (
        "tinker://a/weights/b",
        "tinker://s/external_weights/download",
        "/training_runs/s/*",
    )
    kept = {"checkpoint_id": "weights/b", "checkpoint_type": "training", "tinker_path": path, "time": 0}
    server.on(deleted, Reply(204, b""))
    server.on("/training_runs/a/checkpoints", {"checkpoints": [kept]})
    results: dict[str, dict[str, str]] = {"loaded": {"model_id": "m"}, "saved": {"path": export}}
    server.on("/load_weights", {"request_id": "loaded"})
    server.on("/weights_info", {"base_model": "tinkex/byte-lm", "is_lora": True, "lora_rank": 8})
    server.on("/save_weights_external", {"request_id": "saved"})
    server.on(
        "/retrieve_future",
        lambda request: results.get(request.json()["request_id"]),
    )
    links = {
        "urls": {"adapter.safetensors": f"{server.url}/files/adapter"},
        "expires": "2999-01-01T00:00:00Z",
    }
    server.on("/training_runs/s/checkpoints/external_weights/download/external_weights_urls", links)
    server.on("/files/adapter", Reply(200, b"weights"))
    arguments = ("checkpoint", "download", path, "--base-url", server.url, "-f", "json")
    done = tinkex_here(*arguments).json
    assert Path(done["destination"], "adapter.safetensors").read_bytes() == b"weights"
    assert [request.method for request in server.requests.to(deleted)][-1] == "DELETE"

    server.on("/training_runs/a/checkpoints", {"checkpoints": []})
    tinkex_here(*arguments, "--force").fails(1, "404")
