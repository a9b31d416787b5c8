"""Compression with zstd, if a module for it is installed."""

from __future__ import annotations

import importlib

# In the standard library from Python 3.14 on; before, in a package of its own (extra ``zstd``).
_MODULES = ("compression.zstd", "zstandard")


def zstd(content: bytes) -> bytes | None:
    """Return ``content`` compressed, or None if no module can do it."""
    for name in _MODULES:
        try:
            compressed: bytes = importlib.import_module(name).compress(content)
        except ImportError:
            continue
        return compressed
    return None
