"""Where files with names that somebody else chose may go."""

from __future__ import annotations

from pathlib import Path

from tinkex.errors import TinkerError


class UnsafeDownloadError(TinkerError):
    """What the server sent is not safe to keep: it leaves its folder, is no plain file, or is too much."""


def inside(directory: Path, name: str) -> Path:
    """The path of ``name`` under ``directory``; raises ``UnsafeDownloadError`` if it could lead elsewhere."""
    parts = [part for part in name.split("/") if part != "."]
    # A backslash or colon leads elsewhere on Windows; "" is an absolute path or a doubled slash.
    if not parts or {"", ".."} & set(parts) or set("\\:\0") & set(name):
        raise UnsafeDownloadError(f"refused a file with the name {name!r}")
    return directory.joinpath(*parts)
