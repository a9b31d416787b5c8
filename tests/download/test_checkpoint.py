"""Checkpoints on disk: whole or not at all."""

from __future__ import annotations

import concurrent.futures
import sys
import threading
from pathlib import Path

import pytest
from clients import wait_until
from file_server import DATA, PATH, Store, contents, fails, give_files
from programs import run_code

import tinkex
from tinkex import RestClient, UnsafeDownloadError
from tinkex.testing import Hang, Reply, TinkerServer


def test_files_arrive_whole_with_progress(
    client: RestClient, server: TinkerServer, store: TinkerServer, tmp_path: Path
) -> None:
    give_files(server, store, ["adapter.safetensors", "sub/config.json"])
    store.on("/0", Store(DATA))
    store.on("/1", Store(b"{}"))
    seen: list[tuple[int, int | None]] = []
    target = tmp_path / "made" / "for it"
    got = client.download_checkpoint(PATH, target, progress=lambda *now: seen.append(now)).result(60)
    assert got == target
    assert contents(target) == {"adapter.safetensors": DATA, "sub/config.json": b"{}"}
    assert seen[-1] == (len(DATA) + 2, len(DATA) + 2)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("end", ["cancel", "close", "progress"])
def test_an_ended_download_leaves_nothing(
    client: RestClient, server: TinkerServer, store: TinkerServer, tmp_path: Path, end: str
) -> None:
    give_files(server, store, ["a", "b"])
    store.on("/0", Store(DATA))
    store.on("/1", Hang())
    started = threading.Event()

    def progress(done: int, total: int | None) -> None:
        assert total is None
        started.set()
        if end == "progress":
            raise KeyError("of the caller")

    future = client.download_checkpoint(PATH, tmp_path / "out", progress)
    assert started.wait(60)
    if end == "cancel":
        store.requests.wait_for("/1")
        assert future.cancel()
    if end == "close":
        client.close()
    kinds = {"cancel": concurrent.futures.CancelledError, "close": tinkex.ClientClosedError}
    with pytest.raises(kinds.get(end, KeyError)):
        future.result(60)
    store.wait_for_connections(0)
    wait_until(lambda: not list(tmp_path.iterdir()))


def test_a_folder_that_is_there(
    client: RestClient, server: TinkerServer, store: TinkerServer, tmp_path: Path
) -> None:
    give_files(server, store, ["a"])
    store.on("/0", Store(DATA))
    empty, full, file, link = (tmp_path / name for name in ("empty", "full", "file", "link"))
    empty.mkdir()
    full.mkdir()
    (full / "old").write_text("old")
    file.write_text("file")
    link.symlink_to(empty)
    for target in (full, file, link):
        with pytest.raises(tinkex.InputError):
            client.download_checkpoint(PATH, target)
    client.download_checkpoint(PATH, empty).result(60)
    store.once("/0", 404)
    with pytest.raises(tinkex.NotFoundError):
        client.download_checkpoint(PATH, full, overwrite=True).result(60)
    assert contents(full) == {"old": b"old"}
    client.download_checkpoint(PATH, full, overwrite=True).result(60)
    assert contents(empty) == contents(full) == {"a": DATA}
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("announced", [False, True])
def test_files_beyond_the_limit_are_refused(
    client: RestClient, server: TinkerServer, store: TinkerServer, tmp_path: Path, announced: bool
) -> None:
    give_files(server, store, ["a", "./b"])
    for path in ("/0", "/1"):
        store.on(path, Store(DATA))
        if not announced:
            chunked = f"{len(DATA):x}\r\n".encode() + DATA + b"\r\n0\r\n\r\n"
            store.on(path, Reply(200, chunked, {"Transfer-Encoding": "chunked"}))
    future = client.download_checkpoint(PATH, tmp_path / "out", max_bytes=len(DATA) + 1)
    fails(future, UnsafeDownloadError, tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on file sizes")
def test_a_full_disk_leaves_nothing(server: TinkerServer, store: TinkerServer, tmp_path: Path) -> None:
    give_files(server, store, ["a", "b"])
    store.on("/0", Store(b"small"))
    store.on("/1", Store(DATA))
    script = f"""
        import resource, sys
        import tinkex
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
        client = tinkex.RestClient(base_url={server.url!r}, api_key="tml-test")
        try:
            client.download_checkpoint({PATH!r}, sys.argv[1]).result(60)
        except OSError as error:
            print(type(error).__name__, error.errno)
    """
    done = run_code(script, str(tmp_path / "out"))
    assert done.stdout == "OSError 27\n", done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_ends_in_the_middle_leaves_nothing(
    server: TinkerServer, store: TinkerServer, tmp_path: Path
) -> None:
    give_files(server, store, ["a", "b"])
    store.on("/0", Store(DATA))
    store.on("/1", Hang())
    script = f"""
        import sys, threading
        import tinkex
        client = tinkex.RestClient(base_url={server.url!r}, api_key="tml-test")
        begun = threading.Event()
        client.download_checkpoint({PATH!r}, sys.argv[1], lambda done, total: begun.set())
        assert begun.wait(60)
    """
    run_code(script, str(tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []
