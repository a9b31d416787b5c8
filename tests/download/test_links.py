"""Signed links: renewed, and never sent the key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from file_server import DATA, PATH, Store, contents, give_files, tar

import tinkex
from tinkex import RestClient
from tinkex.testing import Reply, Request, TinkerServer


def test_signed_urls_get_nothing_of_ours(
    client: RestClient,
    server: TinkerServer,
    store: TinkerServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    give_files(server, store, ["a"])
    with TinkerServer() as elsewhere:
        redirect = {"Location": f"{elsewhere.url}/0?signature=2", "Set-Cookie": "a=b"}
        store.on("/0", Reply(302, b"", redirect))
        elsewhere.on("/0", Store(b"data"))
        client.download_checkpoint(PATH, tmp_path / "out").result(60)
        reached = [*store.requests, *elsewhere.requests]
    assert len(reached) == 2
    for request in reached:
        assert request.headers.keys() <= {"host", "accept", "accept-encoding", "connection", "user-agent"}
        assert "tinkex" not in request.headers["user-agent"]


def test_an_expired_link_is_renewed(
    client: RestClient, server: TinkerServer, store: TinkerServer, tmp_path: Path
) -> None:
    links = iter(range(10))

    def urls(request: Request) -> dict[str, Any]:
        return {"urls": {"a": f"{store.url}/{next(links)}"}, "expires": "2099-01-01T00:00:00Z"}

    server.on("*/external_weights_urls", urls)
    store.once("/0", Store(DATA, breaks=1), 403)
    store.on("/1", Store(DATA))
    client.download_checkpoint(PATH, tmp_path / "out").result(60)
    assert contents(tmp_path / "out") == {"a": DATA}
    assert store.requests.to("/1")[0].headers["range"] == f"bytes={len(DATA) // 2}-"
    store.on("*", 403)
    with pytest.raises(tinkex.PermissionDeniedError):
        client.download_checkpoint(PATH, tmp_path / "other").result(60)


def test_servers_that_know_no_kinds_are_asked_by_name_for_samplers_only(
    client: RestClient, server: TinkerServer, store: TinkerServer, tmp_path: Path
) -> None:
    server.on("/training_runs/r/checkpoints/n/archive", Reply(302, headers={"Location": "/api/v1/archive"}))
    server.on("/archive", Store(tar(("a", b"data"))))
    client.download_checkpoint("tinker://r/sampler_weights/n", tmp_path / "out").result(60)
    assert contents(tmp_path / "out") == {"a": b"data"}
    with pytest.raises(tinkex.NotFoundError):
        client.download_checkpoint("tinker://r/weights/n", tmp_path / "other").result(60)
