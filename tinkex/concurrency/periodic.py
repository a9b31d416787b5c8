"""Runs many small tasks, each once an interval, on few threads."""

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

THREADS = 36
SLOTS = 24
"""Threads that one group may hold at once: fewer than there are, so that one that hangs leaves some free."""
SUSPECT_SLOTS = 2
"""The same for a group whose last task was late."""
TOGETHER = 0.05
"""Tasks that are due within this share of an interval run together: waking up for one costs more than it does."""
PATIENCE = 0.05
"""Seconds that tasks wait for the threads of their group before it gets more."""


class Task(ABC):
    """Something to run once an interval. Those with the same ``group`` share its threads."""

    group: str
    due: float = 0.0
    underway = False
    """It runs or waits for a thread: its next turn is skipped, so that turns never pile up."""

    @abstractmethod
    def run(self) -> bool:
        """Do it once; True if it was late, as its group is likely to be again."""


T = TypeVar("T", bound=Task)


class _Group(Generic[T]):
    """The tasks of one group whose turn it is."""

    def __init__(self) -> None:
        self.waiting: collections.deque[T] = collections.deque()
        self._threads = 0
        self._suspect = False
        self._grown = 0.0

    @property
    def may_grow(self) -> bool:
        """Whether there is a use for more threads, and a right to them."""
        return bool(self.waiting) and self._threads < self._limit

    @property
    def _limit(self) -> int:
        return SUSPECT_SLOTS if self._suspect else SLOTS

    def grow(self, now: float) -> list[T]:
        """Tasks that get a thread each, which then goes on with those that wait.

        One thread is the cheapest, and enough for a server that answers at once; while tasks have to
        wait for longer than ``PATIENCE`` their number doubles.
        """
        if not self.may_grow or (self._threads and now - self._grown < PATIENCE):
            return []
        more = min(max(self._threads, 1), self._limit - self._threads, len(self.waiting))
        self._grown = now
        self._threads += more
        return [self.waiting.popleft() for _ in range(more)]

    def following(self, late: bool) -> T | None:
        """What the thread that has ended a task goes on with, None if it is not needed any more."""
        self._suspect = late
        if self.waiting and self._threads <= self._limit:
            return self.waiting.popleft()
        self._threads -= 1
        return None

    def no_thread(self, task: T) -> None:
        """There is no thread to be had for ``task`` now: all wait for their next turn."""
        self._threads -= 1
        for skipped in (task, *self.waiting):
            skipped.underway = False
        self.waiting.clear()


class PeriodicTasks(Generic[T]):
    """A set of tasks of which each runs every ``interval`` seconds until it is removed.

    One scheduler thread wakes for the earliest task that is due and hands it to a worker; no lock is held
    while a task runs. A group that hangs holds only its own threads. Without tasks there are no threads.
    """

    def __init__(self, interval: float, name: str) -> None:
        self.interval = interval
        self.name = name
        # In the order of adding.
        self._tasks: dict[T, None] = {}
        self._closed = False
        self._thread: threading.Thread | None = None
        self._executor = DaemonExecutor(THREADS, name)
        self._reset()
        renew_after_fork(self)

    @property
    def closed(self) -> bool:
        """Whether ``close`` has been called."""
        return self._closed

    def tasks(self) -> list[T]:
        """Those that have been added and not removed."""
        with self._changed:
            return list(self._tasks)

    def add(self, task: T) -> bool:
        """Run ``task`` from now on, first in one interval; False if this has been closed."""
        with self._changed:
            if self._closed:
                return False
            task.due = time.monotonic() + self.interval
            self._watch(task)
            self._tasks[task] = None
            return True

    def remove(self, tasks: Iterable[T]) -> list[T]:
        """Run them no more, though one may still be underway; those that were there."""
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
        """Return when none of ``tasks`` is underway, after ``timeout`` seconds at the latest."""
        tasks = list(tasks)
        with self._changed:
            self._ended.wait_for(lambda: not any(task.underway for task in tasks), timeout)

    def resume(self, task: T) -> None:
        """In a forked child: run a task that was added in the parent, too."""
        with self._changed:
            if task in self._tasks:
                self._watch(task)

    def close(self) -> list[T]:
        """Run nothing more; the tasks that there were. See ``join``."""
        with self._changed:
            self._closed = True
            return self.remove(list(self._tasks))

    def join(self, timeout: float) -> None:
        """After ``close`` wait for all threads to end, at most ``timeout`` seconds."""
        end = time.monotonic() + timeout
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
        self._executor.shutdown(timeout=max(0.0, end - time.monotonic()))

    def _watch(self, task: T) -> None:
        """Enter ``task`` into the schedule, and start the scheduler if it rests. Called with the lock."""
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
                    # What is left in the schedule was removed.
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
                        group.no_thread(task)

    def _queue_due(self, now: float) -> None:
        """Move the tasks that are due to their groups, and enter each again one interval on. Called with the lock."""
        soon = now + self.interval * TOGETHER
        while self._schedule and self._schedule[0][0] <= soon:
            task = heapq.heappop(self._schedule)[2]
            if task not in self._tasks:
                continue
            # From the time it was due, not from now: so the cadence does not drift.
            missed = max(0, int((now - task.due) / self.interval))
            task.due += (1 + missed) * self.interval
            heapq.heappush(self._schedule, (task.due, next(self._ties), task))
            if not task.underway:
                task.underway = True
                self._groups.setdefault(task.group, _Group()).waiting.append(task)

    def _pause(self, now: float) -> float:
        """How long there is nothing to do for the scheduler. Called with the lock."""
        pause = self._schedule[0][0] - now if self._schedule else self.interval
        if any(group.may_grow for group in self._groups.values()):
            pause = min(pause, PATIENCE)
        return max(0.0, pause)

    def _work(self, group: _Group[T], task: T | None) -> None:
        """Run ``task``, and then what waits in its group."""
        while task is not None:
            late = False
            try:
                late = task.run()
            except BaseException:
                logger.exception("a task of %r failed", self.name)
            with self._changed:
                task.underway = False
                self._ended.notify_all()
                task = group.following(late)

    def _reset(self) -> None:
        lock = threading.RLock()
        self._changed = threading.Condition(lock)
        """The schedule is not what the scheduler thinks it is."""
        self._ended = threading.Condition(lock)
        """A task has run; apart from the other, so that it does not wake the scheduler."""
        self._schedule: list[tuple[float, int, T]] = []
        self._ties = itertools.count()
        self._groups: dict[str, _Group[T]] = {}
        self._thread = None

    def _after_fork(self) -> None:
        """No thread of the parent is here, so nothing is underway; tasks run again once they are resumed."""
        self._reset()
        due = time.monotonic() + self.interval
        for task in self._tasks:
            task.underway = False
            task.due = due
