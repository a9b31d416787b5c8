"""Paths of downloaded files, whose names come from the server and cannot be trusted."""

from __future__ import annotations

import os
from pathlib import Path

from tinkex.errors import TinkerError


class UnsafeDownloadError(TinkerError):
    """The server sent a file that is not safe to keep: outside its folder, not a plain file, or too large."""


def inside(directory: Path, name: str) -> Path:
    """Return the path of ``name`` in ``directory``. Raises ``UnsafeDownloadError`` if it could be outside."""
    parts = [part for part in name.split("/") if part != "."]
    # A backslash or a colon can lead outside on Windows. An empty part is an absolute path or a doubled slash.
    if not parts or {"", ".."} & set(parts) or set("\\:\0") & set(name) or not _fits(parts):
        raise UnsafeDownloadError(f"refused a file with the name {name!r}")
    return directory.joinpath(*parts)


def _fits(parts: list[str]) -> bool:
    """Return whether file systems take these names of folders and of a file in them."""
    try:
        sizes = [len(os.fsencode(part)) for part in parts]
    except UnicodeEncodeError:
        return False
    return max(sizes) <= _LONGEST_NAME and sum(sizes) <= _LONGEST_PATH


_LONGEST_NAME = 255
_LONGEST_PATH = 2048
"""The most bytes. Linux takes 4096 for a whole path, of which the folder of the download needs a part."""
