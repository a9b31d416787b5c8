"""Where the files of checkpoints are: in a directory or in memory.

On disk a checkpoint is the folder `{run}/{kind}/{name}` with `adapter.safetensors` and `checkpoint.json`. It
is written under another name and renamed: a reader finds it whole or not at all.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote

from .problems import Refused

WEIGHTS_FILE = "adapter.safetensors"
INFO_FILE = "checkpoint.json"
KINDS = {"weights": "training", "sampler_weights": "sampler", "external_weights": "external"}
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:+=@-]{0,199}")


@dataclass(frozen=True)
class Key:
    """Where a checkpoint is: `tinker://{run}/{kind}/{name}`."""

    run: str
    kind: str
    name: str

    @property
    def path(self) -> str:
        return f"tinker://{self.run}/{self.kind}/{self.name}"

    @classmethod
    def parse(cls, path: str) -> Key:
        """Raises:
        Refused: 400 if `path` is no checkpoint path.
        """
        if not path.startswith("tinker://"):
            raise Refused(400, f"path: must start with tinker://, is {path!r}")
        parts = path.removeprefix("tinker://").split("/")
        if (
            len(parts) != 3
            or parts[1] not in KINDS
            or not (_NAME.fullmatch(parts[0]) and _NAME.fullmatch(parts[2]))
        ):
            raise Refused(400, f"path: must be tinker://RUN/{'|'.join(KINDS)}/NAME, is {path!r}")
        return cls(*parts)


def check_name(name: str) -> str:
    """Raises:
    Refused: 400 if `name` cannot name a checkpoint.
    """
    if not _NAME.fullmatch(name):
        raise Refused(
            400, f"path: {name!r} must be 1 to 200 of A-Z a-z 0-9 _ . : + = @ - and not start with . or -"
        )
    return name


class Files(Protocol):
    """Where the files of checkpoints are."""

    def held(self) -> list[Key]: ...

    def read(self, key: Key, name: str) -> bytes | None: ...

    def put(self, key: Key, files: Mapping[str, bytes]) -> None: ...

    def remove(self, key: Key) -> None: ...


class MemoryFiles:
    """Gone with the server."""

    def __init__(self) -> None:
        self._all: dict[Key, dict[str, bytes]] = {}

    def held(self) -> list[Key]:
        return list(self._all)

    def read(self, key: Key, name: str) -> bytes | None:
        return self._all.get(key, {}).get(name)

    def put(self, key: Key, files: Mapping[str, bytes]) -> None:
        self._all[key] = {**self._all.get(key, {}), **files}

    def remove(self, key: Key) -> None:
        self._all.pop(key, None)


class DiskFiles:
    """Under one directory, which other processes may read at the same time."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)

    def _folder(self, key: Key) -> Path:
        # A colon, usual in run ids, is no part of a file name everywhere.
        return self._root / quote(key.run, safe="") / key.kind / quote(key.name, safe="")

    def held(self) -> list[Key]:
        found = self._root.glob(f"*/*/*/{INFO_FILE}")
        parts = (
            (unquote(p.parts[-4]), p.parts[-3], unquote(p.parts[-2])) for p in found if p.parts[-2][0] != "."
        )
        return [Key(*each) for each in parts if each[1] in KINDS]

    def read(self, key: Key, name: str) -> bytes | None:
        try:
            return (self._folder(key) / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def put(self, key: Key, files: Mapping[str, bytes]) -> None:
        folder = self._folder(key)
        if folder.exists():
            # The weights go last: newer information with older weights does no harm, their shapes agree.
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
        folder = self._folder(key)
        doomed = folder.with_name(f".{secrets.token_hex(8)}")
        try:
            folder.rename(doomed)
        except FileNotFoundError:
            return
        shutil.rmtree(doomed, ignore_errors=True)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
