"""What must be made anew in a child process after ``os.fork``.

A child inherits the memory of its parent but none of its threads, and locks as they were, held or not.
Whatever owns threads, locks or connections enters itself here and gets ``_after_fork`` called in the child.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forked(Protocol):
    """An object with something to make anew."""

    def _after_fork(self) -> None: ...


_entries: dict[int, weakref.ref[Forked]] = {}


def renew_after_fork(entry: Forked) -> None:
    """Call ``entry._after_fork()`` in every child forked while ``entry`` lives, in the order of entering."""
    # Plain dict operations are atomic, so this needs no lock that a fork could catch held.
    key = id(entry)
    _entries[key] = weakref.ref(entry, lambda _: _entries.pop(key, None))


def _renew_all() -> None:
    for reference in list(_entries.values()):
        entry = reference()
        if entry is not None:
            entry._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
