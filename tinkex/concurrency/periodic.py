"""A scheduler that runs many small tasks, each once per interval, on few threads."""

from __future__ import annotations

import collections
import heapq
import itertools
import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import partial
from typing import Generic, TypeVar

from tinkex.concurrency.at_fork import renew_after_fork
from tinkex.concurrency.executor import DaemonExecutor

logger = logging.getLogger("tinkex")

MAX_THREADS = 36
"""The most threads that run tasks, over all groups."""
GROUP_THREADS = 24
"""The most threads that one group may hold. A group that hangs leaves the others ``MAX_THREADS`` minus these."""
LATE_GROUP_THREADS = 2
"""The most threads of a group whose last task was late."""
BATCH_SHARE = 0.05
"""Tasks that fall due within this share of the interval run together, since each wake-up costs CPU time."""
GROW_AFTER = 0.05
"""A group gets more threads when its tasks have waited for this many seconds."""


class Task(ABC):
    """Work that runs once per interval. The tasks of one ``group`` share a limited number of threads."""

    group: str
    due: float = 0.0
    """When the next turn begins, by ``time.monotonic()``."""
    underway = False
    """Whether the task runs or waits for a thread. If so, its next turn is skipped, so turns never pile up."""

    @abstractmethod
    def run(self) -> bool:
        """Do the work once. Return True if it was late, in which case the group gets fewer threads."""


T = TypeVar("T", bound=Task)


class _Group(Generic[T]):
    """The tasks of one group that wait for a thread, and how many threads the group holds.

    The lock of ``PeriodicTasks`` guards the group.
    """

    def __init__(self) -> None:
        self.waiting: collections.deque[T] = collections.deque()
        self._threads = 0
        self._late = False
        self._grown = 0.0

    @property
    def wants_threads(self) -> bool:
        """Whether tasks wait and the group holds fewer threads than it may."""
        return bool(self.waiting) and self._threads < self._limit

    @property
    def _limit(self) -> int:
        return LATE_GROUP_THREADS if self._late else GROUP_THREADS

    def grow(self, now: float) -> list[T]:
        """Return the tasks to start, each on a new thread, which goes on with the tasks that still wait.

        One thread is the cheapest, and enough for a server that answers at once. The number of threads
        doubles each time that tasks have waited for ``GROW_AFTER`` seconds.
        """
        if not self.wants_threads or (self._threads and now - self._grown < GROW_AFTER):
            return []
        more = min(max(self._threads, 1), self._limit - self._threads, len(self.waiting))
        self._grown = now
        self._threads += more
        return [self.waiting.popleft() for _ in range(more)]

    def next_task(self, *, late: bool) -> T | None:
        """Return the next task for a thread that has finished one, or None if the thread is to end.

        ``late`` is whether the finished task was late.
        """
        self._late = late
        if self.waiting and self._threads <= self._limit:
            return self.waiting.popleft()
        self._threads -= 1
        return None

    def skip_turn(self, task: T) -> None:
        """Skip this turn of ``task`` and of all that wait, because no thread could be started."""
        self._threads -= 1
        for skipped in (task, *self.waiting):
            skipped.underway = False
        self.waiting.clear()


class PeriodicTasks(Generic[T]):
    """A set of tasks, each of which runs every ``interval`` seconds until it is removed.

    One scheduler thread sleeps until the earliest task is due and hands it to a worker thread. No lock is
    held while a task runs. A group whose tasks hang holds only its own threads. When there are no tasks
    there are no threads.
    """

    def __init__(self, interval: float, name: str) -> None:
        self.interval = interval
        self.name = name
        self._tasks: dict[T, None] = {}
        """The tasks, as the keys, in the order in which they were added."""
        self._closed = False
        self._thread: threading.Thread | None = None
        self._executor = DaemonExecutor(MAX_THREADS, name)
        self._reset()
        renew_after_fork(self)

    @property
    def closed(self) -> bool:
        """Whether ``close`` has been called."""
        return self._closed

    def tasks(self) -> list[T]:
        """Return the tasks that have been added and not removed."""
        with self._changed:
            return list(self._tasks)

    def add(self, task: T) -> bool:
        """Run ``task`` every interval, for the first time in one interval. Return False if closed."""
        with self._changed:
            if self._closed:
                return False
            task.due = time.monotonic() + self.interval
            self._watch(task)
            self._tasks[task] = None
            return True

    def remove(self, tasks: Iterable[T]) -> list[T]:
        """Remove ``tasks``; return those that were there. A removed task may still be underway."""
        with self._changed:
            removed = [task for task in tasks if task in self._tasks]
            for task in removed:
                del self._tasks[task]
                group = self._groups.get(task.group)
                if group is not None and task in group.waiting:
                    group.waiting.remove(task)
                    task.underway = False
            self._changed.notify_all()
            return removed

    def wait_for(self, tasks: Iterable[T], timeout: float) -> None:
        """Block until none of ``tasks`` is underway, for at most ``timeout`` seconds."""
        tasks = list(tasks)
        with self._changed:
            self._ended.wait_for(lambda: not any(task.underway for task in tasks), timeout)

    def resume(self, task: T) -> None:
        """Run, in a forked child too, a ``task`` that was added in the parent."""
        with self._changed:
            if task in self._tasks:
                self._watch(task)

    def close(self) -> list[T]:
        """Remove all tasks and accept no more; return the tasks that there were. ``join`` waits for them."""
        with self._changed:
            self._closed = True
            return self.remove(list(self._tasks))

    def join(self, timeout: float) -> None:
        """Wait, after ``close``, until all threads have ended, for at most ``timeout`` seconds."""
        end = time.monotonic() + timeout
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
        self._executor.shutdown(timeout=max(0.0, end - time.monotonic()))

    def _watch(self, task: T) -> None:
        """Put ``task`` on the schedule, and start the scheduler thread if there is none. Needs the lock."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name=f"tinkex-{self.name}-scheduler", daemon=True)
            thread.start()
            self._thread = thread
        heapq.heappush(self._schedule, (task.due, next(self._ties), task))
        self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._tasks:
                    # The schedule may still have entries of tasks that were removed.
                    self._schedule.clear()
                    self._groups.clear()
                    self._thread = None
                    return
                now = time.monotonic()
                self._queue_due(now)
                ready = [(group, task) for group in self._groups.values() for task in group.grow(now)]
                if not ready:
                    self._changed.wait(self._pause(now))
            for group, task in ready:
                try:
                    self._executor.run(partial(self._work, group, task))
                except RuntimeError:
                    with self._changed:
                        group.skip_turn(task)

    def _queue_due(self, now: float) -> None:
        """Move the tasks that are due to their groups, and schedule the next turn of each. Needs the lock."""
        soon = now + self.interval * BATCH_SHARE
        while self._schedule and self._schedule[0][0] <= soon:
            task = heapq.heappop(self._schedule)[2]
            if task not in self._tasks:
                continue
            # The next turn counts from when this one was due, not from now, so the turns do not drift.
            missed = max(0, int((now - task.due) / self.interval))
            task.due += (1 + missed) * self.interval
            heapq.heappush(self._schedule, (task.due, next(self._ties), task))
            if not task.underway:
                task.underway = True
                self._groups.setdefault(task.group, _Group()).waiting.append(task)

    def _pause(self, now: float) -> float:
        """Return for how many seconds the scheduler may sleep. Needs the lock."""
        pause = self._schedule[0][0] - now if self._schedule else self.interval
        if any(group.wants_threads for group in self._groups.values()):
            pause = min(pause, GROW_AFTER)
        return max(0.0, pause)

    def _work(self, group: _Group[T], task: T | None) -> None:
        """Run ``task``, and then tasks that wait in its group, until the thread is to end."""
        while task is not None:
            late = False
            try:
                late = task.run()
            except BaseException:
                logger.exception("a task of %r failed", self.name)
            with self._changed:
                task.underway = False
                self._ended.notify_all()
                task = group.next_task(late=late)

    def _reset(self) -> None:
        lock = threading.RLock()
        self._changed = threading.Condition(lock)
        """Notified when the schedule changes, to wake the scheduler."""
        self._ended = threading.Condition(lock)
        """Notified when a task has run. It shares the lock, but does not wake the scheduler."""
        self._schedule: list[tuple[float, int, T]] = []
        self._ties = itertools.count()
        self._groups: dict[str, _Group[T]] = {}
        self._thread = None

    def _after_fork(self) -> None:
        """Start from an empty schedule: no task is underway here, and a task runs once it is resumed."""
        self._reset()
        due = time.monotonic() + self.interval
        for task in self._tasks:
            task.underway = False
            task.due = due
