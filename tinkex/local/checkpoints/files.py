"""Where the files of checkpoints are: in a directory or in memory.

On disk, a checkpoint is the folder ``RUN/KIND/NAME`` with the files ``adapter.safetensors`` and ``checkpoint.json``.
The folder is written under another name and then renamed, so that a reader finds all of it or nothing.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote

from tinkex.local.checkpoints.path import KINDS, Key

WEIGHTS_FILE = "adapter.safetensors"
INFO_FILE = "checkpoint.json"


class Files(Protocol):
    """The files of checkpoints. Reading is safe at any time; only one thread may change them at a time."""

    def held(self) -> list[Key]:
        """Return the keys of all checkpoints."""

    def read(self, key: Key, name: str) -> bytes | None:
        """The content of one file of a checkpoint, or None if it is not there."""

    def put(self, key: Key, files: Mapping[str, bytes]) -> None:
        """Add or replace files of a checkpoint."""

    def remove(self, key: Key) -> None:
        """Delete a checkpoint, if it is there."""


class MemoryFiles:
    """Files in memory, which are lost when the server ends."""

    def __init__(self) -> None:
        self._all: dict[Key, dict[str, bytes]] = {}

    def held(self) -> list[Key]:
        """Return the keys of all checkpoints."""
        return list(self._all)

    def read(self, key: Key, name: str) -> bytes | None:
        """The content of one file of a checkpoint, or None if it is not there."""
        return self._all.get(key, {}).get(name)

    def put(self, key: Key, files: Mapping[str, bytes]) -> None:
        """Add or replace files of a checkpoint."""
        self._all[key] = {**self._all.get(key, {}), **files}

    def remove(self, key: Key) -> None:
        """Delete a checkpoint, if it is there."""
        self._all.pop(key, None)


class DiskFiles:
    """Files under one directory, which other processes may use at the same time."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)

    def _folder(self, key: Key) -> Path:
        # Run ids contain colons, which some systems do not allow in the names of files.
        return self._root / quote(key.run, safe="") / key.kind / quote(key.name, safe="")

    def held(self) -> list[Key]:
        """Return the keys of all checkpoints."""
        return [
            Key(unquote(run), kind, unquote(name))
            for run in _folders(self._root)
            for kind in KINDS
            for name in _folders(self._root / run / kind)
        ]

    def read(self, key: Key, name: str) -> bytes | None:
        """The content of one file of a checkpoint, or None if it is not there."""
        try:
            return (self._folder(key) / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def put(self, key: Key, files: Mapping[str, bytes]) -> None:
        """Add or replace files of a checkpoint."""
        folder = self._folder(key)
        if folder.exists():
            # The weights go last: new information beside old weights does no harm, since their shapes agree.
            for name in sorted(files, reverse=True):
                self._replace(folder / name, files[name])
            return
        draft = folder.with_name(f".{secrets.token_hex(8)}")
        draft.mkdir(parents=True)
        try:
            for name, data in files.items():
                _write(draft / name, data)
            draft.rename(folder)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise

    def _replace(self, path: Path, data: bytes) -> None:
        draft = path.with_name(f".{secrets.token_hex(8)}")
        try:
            _write(draft, data)
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise

    def remove(self, key: Key) -> None:
        """Delete a checkpoint, if it is there."""
        folder = self._folder(key)
        doomed = folder.with_name(f".{secrets.token_hex(8)}")
        try:
            folder.rename(doomed)
        except FileNotFoundError:
            return
        shutil.rmtree(doomed, ignore_errors=True)


def _folders(parent: Path) -> Iterator[str]:
    """The names of the folders in ``parent``, without those that are being written or deleted."""
    try:
        with os.scandir(parent) as entries:
            yield from sorted(entry.name for entry in entries if entry.name[0] != "." and entry.is_dir())
    except (
        FileNotFoundError,
        NotADirectoryError,
    ):  # deleted meanwhile, or the run has no such kind
        return


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
