"""Files that arrive in pieces: resumed, restarted, several at a time, and ended together."""

from __future__ import annotations

import base64
import hashlib
import threading
from pathlib import Path
from typing import Any

import pytest
from file_server import DATA, PATH, Store, contents, fails, give_files

import tinkex
from tinkex import RestClient
from tinkex.testing import Hang, Reply, Request, Reset, TinkerServer


def test_a_broken_download_goes_on_where_it_stopped(
    client: RestClient, server: TinkerServer, store: TinkerServer, tmp_path: Path
) -> None:
    give_files(server, store, ["a"])
    digest = base64.b64encode(hashlib.sha256(DATA).digest()).decode()
    store.on("/0", Store(DATA, breaks=7, Repr_Digest=f"sha-256=:{digest}:"))
    hang = Hang(then=Reset())
    store.once("/0", Reset(), 503, hang)
    future = client.download_checkpoint(PATH, tmp_path / "out")
    store.requests.wait_for("/0", 3)
    hang.release()
    future.result(60)
    assert contents(tmp_path / "out") == {"a": DATA}
    ranges = [request.headers.get("range") for request in store.requests]
    assert ranges[:4] == [None] * 4
    assert ranges[4:6] == [f"bytes={len(DATA) // 2}-", f"bytes={len(DATA) * 3 // 4}-"]
    assert len(ranges) == 3 + 8


@pytest.mark.parametrize("changed", [False, True])
def test_a_server_that_cannot_go_on_starts_over(
    client: RestClient, server: TinkerServer, store: TinkerServer, tmp_path: Path, changed: bool
) -> None:
    give_files(server, store, ["a"])
    store.once("/0", Store(b"x" * 1000 if changed else DATA, breaks=1))
    store.on("/0", Store(DATA, ranges=changed, ETag='"two"' if changed else '"one"'))
    seen: list[tuple[int, int | None]] = []
    client.download_checkpoint(PATH, tmp_path / "out", lambda *now: seen.append(now)).result(60)
    assert contents(tmp_path / "out") == {"a": DATA}
    assert seen[-1] == (len(DATA), len(DATA))


@pytest.mark.parametrize("wrong", [416, Reply(206, DATA[:10], {"Content-Range": "bytes 0-9/10"})])
def test_another_part_than_asked_for_is_not_taken(
    client: RestClient, server: TinkerServer, store: TinkerServer, tmp_path: Path, wrong: Any
) -> None:
    give_files(server, store, ["a"])
    store.once("/0", Store(DATA, breaks=1), wrong)
    store.on("/0", Store(DATA))
    client.download_checkpoint(PATH, tmp_path / "out").result(60)
    assert contents(tmp_path / "out") == {"a": DATA}


def test_a_download_that_gets_no_further_fails_without_its_signature(
    client: RestClient, server: TinkerServer, store: TinkerServer, tmp_path: Path
) -> None:
    give_files(server, store, ["a", "b"])
    store.on("/0", Store(DATA))
    store.on("/1", Reply(200, DATA[:100], {"Content-Length": "200", "Connection": "close"}))
    target = tmp_path / "several" / "parents" / "out"
    error = fails(client.download_checkpoint(PATH, target), tinkex.APIConnectionError, tmp_path)
    assert "signature" not in f"{error} {error.url}"  # type: ignore[attr-defined]


def test_a_refused_file_ends_the_others_at_once(
    client: RestClient, server: TinkerServer, store: TinkerServer, tmp_path: Path
) -> None:
    give_files(server, store, ["a", "b"])
    store.on("/0", Hang())
    store.on("/1", lambda request: store.requests.wait_for("/0") and Reply(404, {"detail": "gone"}))
    error = fails(client.download_checkpoint(PATH, tmp_path / "out"), tinkex.NotFoundError, tmp_path)
    assert "gone" in str(error)
    assert "signature" not in str(error)


def test_several_files_come_at_a_time(
    client: RestClient, server: TinkerServer, store: TinkerServer, tmp_path: Path
) -> None:
    give_files(server, store, [f"file{number}" for number in range(6)])
    meeting = threading.Barrier(2)

    def together(request: Request) -> Reply:
        meeting.wait(60)
        return Reply(200, b"data")

    store.on("*", together)
    client.download_checkpoint(PATH, tmp_path / "out").result(60)
    assert len(contents(tmp_path / "out")) == 6
