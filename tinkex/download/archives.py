"""Unpacks archives safely, even if they were made to do harm."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tinkex.download.paths import UnsafeDownloadError, inside

MAX_FILES = 10_000
_CHUNK = 1 << 20
_OVERHEAD = 64 << 20
"""The most bytes of headers and padding in an archive, beside the content of its files."""
_GZIP = b"\x1f\x8b"
_BROKEN = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError, RecursionError)


def unpack(archive: Path, directory: Path, max_bytes: int, check: Callable[[], None] = lambda: None) -> None:
    """Unpack a tar or tar.gz file into ``directory``, an empty folder, in constant memory.

    Owners and modes are not restored. ``check`` is called often, and stops the unpacking by raising. Raises
    ``UnsafeDownloadError`` if the file is not an archive; if an entry is not a plain file or folder, has an
    absolute path or ``..`` in it, or occurs twice; and if there are more than ``max_bytes`` bytes of unpacked
    content or more than 10,000 entries.
    """
    left, entries = max_bytes, 0
    with archive.open("rb") as raw, _reader(raw, max_bytes + _OVERHEAD) as tar:
        for entry in _entries(tar):
            entries += 1
            if entries > MAX_FILES:
                raise UnsafeDownloadError(f"the archive has more than {MAX_FILES} entries")
            if not (entry.isreg() or entry.isdir()):
                raise UnsafeDownloadError(f"the archive holds {entry.name!r}, which is no plain file")
            if entry.isdir() and entry.name in ("", ".", "./"):
                continue
            target = inside(directory, entry.name.rstrip("/") if entry.isdir() else entry.name)
            if entry.size > left:
                raise UnsafeDownloadError(f"the archive holds more than {max_bytes} bytes")
            try:
                if entry.isdir():
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                file = target.open("xb")
            except (FileExistsError, NotADirectoryError):
                raise UnsafeDownloadError(f"the archive holds {entry.name!r} twice") from None
            with file:
                for chunk in _content(tar, entry):
                    check()
                    file.write(chunk)
            left -= entry.size


class _Bounded:
    """A stream that raises when it is read beyond the size of the largest allowed archive.

    It is needed because ``tarfile`` reads a header as a whole, however large it claims to be, and skips as far
    as an entry tells it to.
    """

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self._stream = stream
        self._limit = limit

    def read(self, size: int) -> bytes:
        if size > 2 * _CHUNK:
            raise UnsafeDownloadError("the archive has a header that is far too large")
        return self._stream.read(size)

    def seek(self, position: int) -> int:
        if position > self._limit:
            raise UnsafeDownloadError("the archive is larger than allowed")
        return self._stream.seek(position)

    def tell(self) -> int:
        return self._stream.tell()


@contextmanager
def _reader(raw: IO[bytes], limit: int) -> Iterator[tarfile.TarFile]:
    packed = raw.read(len(_GZIP)) == _GZIP
    raw.seek(0)
    stream: Any = gzip.GzipFile(fileobj=raw) if packed else raw
    bounded: Any = _Bounded(stream, limit)
    with _explained():
        tar = tarfile.open(fileobj=bounded, mode="r:")
    with tar:
        yield tar


def _entries(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while True:
        with _explained():
            entry = tar.next()
        if entry is None:
            return
        yield entry
        vars(tar)["members"].clear()  # tarfile remembers every entry, which takes memory


def _content(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> Iterator[bytes]:
    """Yield the content of a file. Raises ``UnsafeDownloadError`` if it is shorter than its header says."""
    left = entry.size
    with _explained():
        file = tar.extractfile(entry)
    while left:
        with _explained():
            chunk = file.read(min(_CHUNK, left)) if file is not None else b""
        if not chunk:
            raise UnsafeDownloadError(f"the archive breaks off in {entry.name!r}")
        left -= len(chunk)
        yield chunk


@contextmanager
def _explained() -> Iterator[None]:
    """Turn the errors of reading an archive into ``UnsafeDownloadError``.

    No file may be written within the block, because an error of writing would be turned too.
    """
    try:
        yield
    except _BROKEN as error:
        raise UnsafeDownloadError(f"the archive cannot be read: {error}") from None
