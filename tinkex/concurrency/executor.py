"""An executor whose threads never delay the end of the process."""

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
from tinkex.concurrency.tracebacks import forget_variables

R = TypeVar("R")
logger = logging.getLogger("tinkex")

IDLE_SECONDS = 5.0
"""A thread that has had no task for this long ends."""


Task = Callable[[], BaseException | None]
"""A function to run. It returns the error that it has given to a future, if any."""


class DaemonExecutor(Executor):
    """A ``concurrent.futures.Executor`` of daemon threads that start on demand and end when idle.

    ``ThreadPoolExecutor`` cannot be used here. The interpreter joins its workers before it runs any
    ``atexit`` hook, so one worker in a long poll would delay the exit for minutes, and with it the hook
    that ends the session. Its workers also live as long as the executor does, whereas a client that does
    nothing should have no threads.
    """

    def __init__(self, max_workers: int, name: str) -> None:
        self.max_workers = max_workers
        self.name = name
        self._numbers = itertools.count(1)
        self._shut_down = False
        self._reset()
        renew_after_fork(self)

    def run(self, task: Task) -> None:
        """Run ``task`` on a thread of this executor; an error that it raises is logged.

        A task that has given an error to a future returns the error, so that the executor can remove the
        variables from its traceback; see ``forget_variables``. The task sees the context variables of the
        caller, such as the span that a tracer has open. Raises ``RuntimeError`` if the executor is shut down,
        or if no thread can be started and none is running.
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
        except RuntimeError:  # the system allows no more threads
            with self._changed:
                self._threads.discard(thread)
                # A thread that runs already will take the task. A thread that is still being started does
                # not count, because its start may fail too.
                if any(other.ident is not None for other in self._threads) or entry not in self._tasks:
                    return
                self._tasks.remove(entry)
            raise

    def run_or_do(self, task: Task) -> None:
        """Run ``task`` on a thread of this executor, or at once on the caller's thread if ``run`` fails."""
        try:
            self.run(task)
        except RuntimeError:
            forget_variables(task())

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        """Run ``fn(*args, **kwargs)`` on a thread; return the future of its result."""
        call = _Call(partial(fn, *args, **kwargs))
        self.run(call)
        return call.future

    def shutdown(  # the signature of Executor.shutdown, with a timeout
        self,
        wait: bool = True,  # noqa: FBT001, FBT002
        *,
        cancel_futures: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Accept no more tasks, and if ``wait`` join the threads, for at most ``timeout`` seconds.

        Tasks that were accepted before still run. ``cancel_futures`` cancels those of ``submit`` that have
        not begun.
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
            if thread is not threading.current_thread() and thread.is_alive():
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
                forget_variables(context.run(task))
            except BaseException:
                logger.exception("a task of executor %r failed", self.name)
            del context, task  # else an idle thread would keep the client of its last task alive

    def _has_news(self) -> bool:
        return bool(self._tasks) or self._shut_down

    def _reset(self) -> None:
        self._changed = threading.Condition()
        self._tasks: collections.deque[tuple[contextvars.Context, Task]] = collections.deque()
        self._threads: set[threading.Thread] = set()
        self._idle = 0

    def _after_fork(self) -> None:
        self._reset()


class _Call(Generic[R]):
    """A task that sets a future to the outcome of ``work``."""

    def __init__(self, work: Callable[[], R]) -> None:
        self.work = work
        self.future: Future[R] = Future()

    def __call__(self) -> BaseException | None:
        if self.future.set_running_or_notify_cancel():
            try:
                self.future.set_result(self.work())
            except BaseException as error:
                self.future.set_exception(error)
                return error
        return None
