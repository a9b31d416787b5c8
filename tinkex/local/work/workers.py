"""The threads that do the work, and how they share it among requests."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Generator

from tinkex.local.errors import LocalError
from tinkex.local.model.errors import ModelError
from tinkex.local.work.promises import Failure, Promise, Result

logger = logging.getLogger("tinkex.local")

Work = Generator[None, None, Result]
"""Work in turns: the generator yields where other requests may have their turn, and returns the result."""


class Task:
    """Work that will resolve a promise."""

    def __init__(self, promise: Promise, start: Callable[[], Work], finished: Callable[[], None]) -> None:
        self._promise = promise
        self._start = start
        self._work: Work | None = None
        self._finished = finished

    def turn(self) -> bool:
        """Do a turn of the work, unless the promise is resolved. Return True if more turns are needed."""
        if not self._promise.done:
            try:
                if self._work is None:
                    self._work = self._start()
                next(self._work)
                return True
            except StopIteration as end:
                self._promise.resolve(end.value)
            except (LocalError, ModelError) as error:
                self._promise.resolve(Failure(str(error), "user"))
            except Exception as error:
                logger.exception("work failed")
                self._promise.resolve(Failure(f"{type(error).__name__}: {error}", "server"))
        self._work = None
        self._finished()
        return False


class Workers:
    """Daemon threads that give every waiting task a turn, one after the other, until ``stop``."""

    def __init__(self, threads: int, name: str) -> None:
        self._ready = threading.Condition()
        self._tasks: deque[Task] = deque()
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._loop, name=f"tinkex-local-{name}-{i}", daemon=True)
            for i in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, task: Task) -> None:
        """Queue ``task`` behind those that wait."""
        with self._ready:
            self._tasks.append(task)
            self._ready.notify()

    def _loop(self) -> None:
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self._tasks or self._stopped)
                if self._stopped:
                    return
                task = self._tasks.popleft()
            if task.turn():
                self.submit(task)

    def stop(self, timeout: float) -> None:
        """Drop the waiting tasks; wait up to ``timeout`` seconds for each thread to end its turn."""
        with self._ready:
            self._stopped = True
            self._ready.notify_all()
        for thread in self._threads:
            thread.join(timeout)
