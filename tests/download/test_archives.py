"""Archives: unpacked, and refused where they are malicious."""

from __future__ import annotations

import gzip
import logging
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from clients import config
from file_server import CHECKPOINT, DATA, PATH, Store, contents, fails, give_archive, tar

import tinkex
from tinkex import RestClient, UnsafeDownloadError
from tinkex.testing import Reply, TinkerServer


@pytest.mark.parametrize("packed", [False, True])
def test_an_archive_where_there_are_no_urls(
    client: RestClient, server: TinkerServer, store: TinkerServer, tmp_path: Path, packed: bool
) -> None:
    archive = tar(("./sub/a", DATA), ("empty", b""), packed=packed)
    server.once(f"{CHECKPOINT}/archive", Reply(503, headers={"Retry-After": "0"}), 503)
    give_archive(server, store, archive)
    store.once("/archive", Store(archive, breaks=1))
    client.download_checkpoint(PATH, tmp_path / "out").result(60)
    assert contents(tmp_path / "out") == {"sub/a": DATA, "empty": b""}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def _forged_size() -> bytes:
    """A pax header of 64 MiB; packed it is small."""
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 1 << 26
    return gzip.compress(header.tobuf() + bytes(1 << 26), 1)


MALICIOUS: dict[str, Callable[[], bytes]] = {
    "absolute": lambda: tar(("/etc/evil", b"x")),
    "parent": lambda: tar(("../evil", b"x")),
    "parent inside": lambda: tar(("a/../../evil", b"x")),
    "windows": lambda: tar(("..\\evil", b"x")),
    "drive": lambda: tar(("C:evil", b"x")),
    "symlink": lambda: tar(("fine", b"x"), ("a", b""), type=tarfile.SYMTYPE, linkname="/etc/passwd"),
    "symlink inside": lambda: tar(("fine", b"x"), ("a", b""), type=tarfile.SYMTYPE, linkname="fine"),
    "hard link": lambda: tar(("a", b""), type=tarfile.LNKTYPE, linkname="/etc/passwd"),
    "device": lambda: tar(("a", b""), type=tarfile.CHRTYPE),
    "block device": lambda: tar(("a", b""), type=tarfile.BLKTYPE),
    "fifo": lambda: tar(("a", b""), type=tarfile.FIFOTYPE),
    "unknown type": lambda: tar(("a", b""), type=b"Z", linkname="x"),
    "twice": lambda: tar(("a", b"x"), ("a", b"y")),
    "file as folder": lambda: tar(("a", b"x"), ("a/b", b"y")),
    "too many": lambda: tar(*[(f"f{number}", b"") for number in range(51)]),
    "bomb": lambda: gzip.compress(tar(("a", bytes(1 << 25))), 1),
    "bomb of files": lambda: gzip.compress(tar(*[(f"f{number}", bytes(1 << 20)) for number in range(20)]), 1),
    "bomb of a header": _forged_size,
    "truncated": lambda: tar(("a", DATA))[:5000],
    "truncated gzip": lambda: tar(("a", DATA), packed=True)[:2000],
    "no archive": lambda: b"<html>not an archive</html>" * 100,
    "nothing": lambda: b"",
}


@pytest.mark.parametrize("name", MALICIOUS)
def test_malicious_archives_are_refused(
    client: RestClient,
    server: TinkerServer,
    store: TinkerServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    monkeypatch.setattr("tinkex.download.archives.MAX_FILES", 50)
    give_archive(server, store, MALICIOUS[name]())
    target = tmp_path / "parent" / "out"
    future = client.download_checkpoint(PATH, target, max_bytes=10 << 20)
    fails(future, UnsafeDownloadError, tmp_path)


def test_a_link_that_would_give_the_key_to_another_host_is_not_followed(
    server: TinkerServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with TinkerServer() as other:
        link = f"{other.url}/archive?token=tml-test"
        server.on("*/external_weights_urls", 404)
        server.on("*/archive", Reply(302, b"", {"Location": link}))
        with RestClient(config=config(server)) as client:
            future = client.download_checkpoint("tinker://run/weights/final", tmp_path / "weights")
            with pytest.raises(tinkex.APIResponseValidationError, match="contains the API key"):
                future.result(60)
        assert len(other.requests) == 0
    assert "tml-test" not in caplog.text
