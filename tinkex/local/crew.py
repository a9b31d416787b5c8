"""One call's work shared among the cores.

Each part is a matrix product or two, during which numpy releases the interpreter lock. The caller works
too, so that a busy crew delays nobody, and the results come in order, so that they do not depend on who was
faster.
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
    """Daemon threads that help whoever calls `map`."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job[Any, Any] | None] = queue.SimpleQueue()
        self._helpers = min((os.cpu_count() or 1) - 1, _MAX_HELPERS)
        for i in range(self._helpers):
            threading.Thread(target=self._loop, name=f"tinkex-local-crew-{i}", daemon=True).start()

    def map(self, function: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
        """As the built-in. The first part that fails raises here, once all have ended."""
        job = _Job(function, items)
        for _ in range(min(self._helpers, len(items) - 1)):
            self._jobs.put(job)
        job.help()
        job.finished.wait()
        if job.error is not None:
            raise job.error
        return [job.results[i] for i in range(len(items))]

    def _loop(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.help()

    def stop(self) -> None:
        for _ in range(self._helpers):
            self._jobs.put(None)


class _Job(Generic[_Item, _Result]):
    """Parts to do, taken one by one by as many threads as help."""

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
