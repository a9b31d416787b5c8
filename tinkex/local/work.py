"""Who does the work: a few daemon threads, and a lane per model that keeps its requests in order."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator

from .futures import Failure, Promise
from .problems import Refused
from .results import Result

logger = logging.getLogger("tinkex.local")

Work = Iterator["Result | None"]
MAX_WAITING = 4096  # requests a lane holds before it answers 429


class Task:
    """Work in turns: an iterator that yields None to let others go first, and its result last."""

    def __init__(self, promise: Promise, work: Callable[[], Work], finished: Callable[[], None]) -> None:
        self.promise = promise
        self._start = work
        self._work: Work | None = None
        self._finished = finished

    def turn(self) -> bool:
        """Do a part; True if more is to come. A task whose promise was resolved meanwhile is dropped."""
        if not self.promise.done:
            try:
                if self._work is None:
                    self._work = self._start()
                result = next(self._work)
                if result is None:
                    return True
                self.promise.resolve(result)
            except Refused as refusal:
                self.promise.resolve(Failure(refusal.detail, "user"))
            except Exception as error:
                logger.exception("work failed")
                self.promise.resolve(Failure(f"{type(error).__name__}: {error}", "server"))
        self._work = None
        self._finished()
        return False


class Workers:
    """Daemon threads that give every waiting task its turn."""

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
        """Finish the turns that run, drop the rest."""
        with self._ready:
            self._stopped = True
            self._ready.notify_all()
        for thread in self._threads:
            thread.join(timeout)


class Lane:
    """One model's requests: numbered from 1, run in that order, one at a time.

    A number that comes early waits for those before it; one that comes again gets the promise it got before.
    """

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._lock = threading.Lock()
        self._promises: dict[int, Promise] = {}
        self._waiting: dict[int, Callable[[], Work]] = {}
        self._next = 1
        self._running = False

    def submit(
        self, seq_id: int | None, new_promise: Callable[[], Promise], work: Callable[[], Work]
    ) -> Promise:
        """Queue `work` as number `seq_id` (None: the one after the highest so far).

        Raises:
            Refused: 429 when too much is waiting; the number is not used up.
        """
        with self._lock:
            if seq_id is None:
                seq_id = max(self._promises, default=0) + 1
            known = self._promises.get(seq_id)
            if known is not None:
                return known
            if len(self._waiting) >= MAX_WAITING:
                raise Refused(429, f"{MAX_WAITING} requests of this model are waiting", retry_after=1)
            promise = self._promises[seq_id] = new_promise()
            self._waiting[seq_id] = work
            self._start_next()
        return promise

    def _start_next(self) -> None:
        work = None if self._running else self._waiting.pop(self._next, None)
        if work is not None:
            self._running = True
            self._workers.submit(Task(self._promises[self._next], work, self._finished))

    def _finished(self) -> None:
        with self._lock:
            self._running = False
            self._next += 1
            self._start_next()

    def close(self, reason: str) -> None:
        """Fail what waits."""
        with self._lock:
            promises = [self._promises[seq_id] for seq_id in self._waiting]
            self._waiting.clear()
        for promise in promises:
            promise.resolve(Failure(reason, "user"))
