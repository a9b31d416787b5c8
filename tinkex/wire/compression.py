"""zstd, where a package for it is there."""

from __future__ import annotations

import importlib

# In the standard library from Python 3.14 on; before, in a package of its own (extra ``zstd``).
_MODULES = ("compression.zstd", "zstandard")


def zstd(content: bytes) -> bytes | None:
    """``content`` compressed; None if no package can do it."""
    for name in _MODULES:
        try:
            compressed: bytes = importlib.import_module(name).compress(content)
        except ImportError:
            continue
        return compressed
    return None
