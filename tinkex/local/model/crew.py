"""Threads that share the parts of one large computation among the processor's cores.

Each part is a matrix product or two, during which numpy lets other threads run. The caller works too, so that it
never waits for helpers that are busy elsewhere. Results come in the order of the parts, so they do not depend on
which thread was faster.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
_MAX_HELPERS = 3


class Crew:
    """A few daemon threads that help each caller of ``map``, until ``stop``."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job[Any, Any] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._loop, name=f"tinkex-local-crew-{i}", daemon=True)
            for i in range(min((os.cpu_count() or 1) - 1, _MAX_HELPERS))
        ]
        for thread in self._threads:
            thread.start()

    def map(self, function: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
        """The results of ``function`` for all ``items``, in order. If one fails, its error is raised after the rest."""
        job = _Job(function, items)
        for _ in range(min(len(self._threads), len(items) - 1)):
            self._jobs.put(job)
        job.help()
        job.finished.wait()
        if job.error is not None:
            raise job.error
        return [job.results[i] for i in range(len(items))]

    def _loop(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.help()

    def stop(self, timeout: float) -> None:
        """End the threads; wait up to ``timeout`` seconds for each to finish its present part."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join(timeout)


class _Job(Generic[_Item, _Result]):
    """The parts of one ``map`` call. Each thread that helps takes one after the other until none is left."""

    def __init__(self, function: Callable[[_Item], _Result], items: Sequence[_Item]) -> None:
        self._function = function
        self._lock = threading.Lock()
        self._todo = iter(list(enumerate(items)))
        self._left = len(items)
        self.results: dict[int, _Result] = {}
        self.error: BaseException | None = None
        self.finished = threading.Event()
        if not items:
            self.finished.set()

    def help(self) -> None:
        """Do parts until none is left to start."""
        while True:
            with self._lock:
                part = next(self._todo, None)
            if part is None:
                return
            try:
                self.results[part[0]] = self._function(part[1])
            except BaseException as error:
                self.error = error
            with self._lock:
                self._left -= 1
                if self._left == 0:
                    self.finished.set()
