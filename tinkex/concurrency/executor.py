"""An executor whose threads never hold up the end of the process."""

from __future__ import annotations

import collections
import contextvars
import itertools
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, Generic, TypeVar

from tinkex.concurrency.at_fork import renew_after_fork

R = TypeVar("R")
logger = logging.getLogger("tinkex")

IDLE_SECONDS = 5.0


class DaemonExecutor(Executor):
    """A ``concurrent.futures.Executor`` of daemon threads that end when idle.

    ``ThreadPoolExecutor`` will not do: the interpreter joins its workers before any exit hook runs, so
    one worker in a long poll would hold up the exit for minutes, and with it the hook that ends the
    session. Its threads also live as long as it does; these start on demand and end after five idle
    seconds, so that a client at rest has none.
    """

    def __init__(self, max_workers: int, name: str) -> None:
        self.max_workers = max_workers
        self.name = name
        self._numbers = itertools.count(1)
        self._shut_down = False
        self._reset()
        renew_after_fork(self)

    def run(self, task: Callable[[], None]) -> None:
        """Run ``task`` on a thread; it must deal with its own errors (one that escapes is logged).

        It sees the context variables of the caller, such as the span that a tracer has open.
        """
        entry = (contextvars.copy_context(), task)
        with self._changed:
            if self._shut_down:
                raise RuntimeError(f"executor {self.name!r} is shut down")
            self._tasks.append(entry)
            if self._idle >= len(self._tasks):
                self._changed.notify()
                return
            if len(self._threads) >= self.max_workers:
                return
            thread = threading.Thread(
                target=self._work, name=f"tinkex-{self.name}-{next(self._numbers)}", daemon=True
            )
            self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # no more threads to be had
            with self._changed:
                self._threads.discard(thread)
                # Another one will get to it; not one that has still to start, and may fail to as well.
                if any(other.ident is not None for other in self._threads) or entry not in self._tasks:
                    return
                self._tasks.remove(entry)
            raise

    def run_or_do(self, task: Callable[[], None]) -> None:
        """``run``; where there is no thread to be had, or this is shut down, on the thread of the caller."""
        try:
            self.run(task)
        except RuntimeError:
            task()

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        """Run ``fn(*args, **kwargs)``; the future of what it returns."""
        call = _Call(partial(fn, *args, **kwargs))
        self.run(call)
        return call.future

    def shutdown(
        self, wait: bool = True, *, cancel_futures: bool = False, timeout: float | None = None
    ) -> None:
        """Take no more work, and join the threads if ``wait``, for at most ``timeout`` seconds.

        What has not begun still runs, but for what was submitted with ``submit`` if ``cancel_futures``.
        """
        with self._changed:
            self._shut_down = True
            dropped = [task for _, task in self._tasks if cancel_futures and isinstance(task, _Call)]
            threads = list(self._threads)
            self._changed.notify_all()
        for task in dropped:
            task.future.cancel()
        if not wait:
            return
        end = None if timeout is None else time.monotonic() + timeout
        for thread in threads:
            if thread is not threading.current_thread() and thread.ident is not None:
                thread.join(None if end is None else max(0.0, end - time.monotonic()))

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._tasks:
                    self._idle += 1
                    self._changed.wait_for(self._has_news, IDLE_SECONDS)
                    self._idle -= 1
                if not self._tasks:
                    self._threads.discard(threading.current_thread())
                    return
                context, task = self._tasks.popleft()
            try:
                context.run(task)
            except BaseException:
                logger.exception("a task of executor %r failed", self.name)
            del context, task  # an idle worker must keep no client alive

    def _has_news(self) -> bool:
        return bool(self._tasks) or self._shut_down

    def _reset(self) -> None:
        self._changed = threading.Condition()
        self._tasks: collections.deque[tuple[contextvars.Context, Callable[[], None]]] = collections.deque()
        self._threads: set[threading.Thread] = set()
        self._idle = 0

    def _after_fork(self) -> None:
        self._reset()


class _Call(Generic[R]):
    """A task with a future of what it returns."""

    def __init__(self, work: Callable[[], R]) -> None:
        self.work = work
        self.future: Future[R] = Future()

    def __call__(self) -> None:
        if self.future.set_running_or_notify_cancel():
            try:
                self.future.set_result(self.work())
            except BaseException as error:
                self.future.set_exception(error)
