"""Objects that must be renewed in a child process after ``os.fork``.

A child inherits the memory of its parent, but none of its threads, and its locks in whatever state they
were at the fork. An object that owns threads, locks or connections registers itself here, and its
``_after_fork`` method is then called in every child.
"""

from __future__ import annotations

import os
from typing import Protocol

from tinkex.concurrency.living import Living


class Renewable(Protocol):
    """An object that replaces its locks, threads or connections after a fork."""

    def _after_fork(self) -> None: ...


_registered: Living[Renewable] = Living()


def renew_after_fork(item: Renewable) -> None:
    """Call ``item._after_fork()`` in every child forked while ``item`` lives.

    In a child, the objects are renewed in the order in which they were registered.
    """
    _registered.add(item)


def _renew_all() -> None:
    for item in _registered.all():
        item._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
