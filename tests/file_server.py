"""Files on a server, for the tests of downloads: served well, broken off on command, or packed into archives."""

from __future__ import annotations

import concurrent.futures
import gzip
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tinkex.testing import Reply, Request, TinkerServer

PATH = "tinker://run:train:0/weights/final"
CHECKPOINT = "/training_runs/run:train:0/checkpoints/weights/final"
DATA = bytes(range(256)) * 4096  # a MiB


def give_files(server: TinkerServer, store: TinkerServer, names: list[str]) -> None:
    """Let the server give a signed URL for each name."""
    urls = {name: f"{store.url}/{number}?signature=1" for number, name in enumerate(names)}
    server.on(f"{CHECKPOINT}/external_weights_urls", {"urls": urls, "expires": "2099-01-01T00:00:00Z"})


def give_archive(server: TinkerServer, store: TinkerServer, data: bytes) -> None:
    """Let the server have no URLs of files, but an archive."""
    server.on(f"{CHECKPOINT}/archive", Reply(302, headers={"Location": f"{store.url}/archive?signature=1"}))
    store.on("/archive", Store(data))


class Store:
    """Serves ``data`` as a well-kept file server would, but breaks off ``breaks`` answers in the middle."""

    def __init__(self, data: bytes, breaks: int = 0, ranges: bool = True, **headers: str) -> None:
        self.data = data
        self.breaks = breaks
        self.ranges = ranges
        self.headers = {"ETag": '"one"', **{name.replace("_", "-"): text for name, text in headers.items()}}

    def __call__(self, request: Request) -> Reply:
        start, status, headers = 0, 200, dict(self.headers)
        asked = request.headers.get("range")
        if asked and self.ranges and request.headers.get("if-range") == headers["ETag"]:
            start, status = int(asked.removeprefix("bytes=").rstrip("-")), 206
            headers["Content-Range"] = f"bytes {start}-{len(self.data) - 1}/{len(self.data)}"
        body = self.data[start:]
        headers["Content-Length"] = str(len(body))
        if self.breaks:
            self.breaks -= 1
            body, headers["Connection"] = body[: len(body) // 2], "close"
        return Reply(status, body, headers)


def tar(*entries: tuple[str, bytes], packed: bool = False, **fields: Any) -> bytes:
    """A tar of files with these names; ``fields`` are set in the header of the last."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for number, (name, data) in enumerate(entries):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            if number == len(entries) - 1:
                for field, value in fields.items():
                    setattr(entry, field, value)
            archive.addfile(entry, io.BytesIO(data))
    return gzip.compress(buffer.getvalue()) if packed else buffer.getvalue()


def contents(directory: Path) -> dict[str, bytes]:
    found = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in found}


def fails(
    future: concurrent.futures.Future[Path], kind: type[BaseException], directory: Path
) -> BaseException:
    """The download fails like this and leaves nothing behind."""
    with pytest.raises(kind) as caught:
        future.result(60)
    assert list(directory.iterdir()) == []
    return caught.value
