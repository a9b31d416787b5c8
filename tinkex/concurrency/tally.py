"""Counts by name and kind that any thread may add to."""

from __future__ import annotations

import threading
from collections import Counter

from tinkex.concurrency.at_fork import renew_after_fork


class Tally:
    """Counts of several kinds for each of several names. What is counted here is also counted in ``whole``.

    A forked child counts from zero.
    """

    def __init__(self, whole: Tally | None = None) -> None:
        self._whole = whole
        self._after_fork()
        renew_after_fork(self)

    def add(self, name: str, **amounts: int) -> None:
        """Add ``amounts``, by their kinds, to the counts of ``name``."""
        with self._lock:
            counts = self._counts.setdefault(name, Counter())
            for kind, amount in amounts.items():
                counts[kind] += amount
        if self._whole is not None:
            self._whole.add(name, **amounts)

    def rename(self, name: str, new: str) -> None:
        """Count under ``new`` what was counted under ``name``."""
        with self._lock:
            counts = self._counts.pop(name, None)
            if counts is not None:
                self._counts.setdefault(new, Counter()).update(counts)
        if self._whole is not None:
            self._whole.rename(name, new)

    def read(self) -> dict[str, dict[str, int]]:
        """Return the present counts: for each name those of its kinds."""
        with self._lock:
            return {name: dict(counts) for name, counts in self._counts.items()}

    def clear(self) -> None:
        """Count from zero."""
        with self._lock:
            self._counts: dict[str, Counter[str]] = {}

    def _after_fork(self) -> None:
        # Reentrant, because a signal handler may interrupt a thread that holds it.
        self._lock = threading.RLock()
        self.clear()


process_tally: Tally = Tally()
"""The counts of all sessions of this process together."""
