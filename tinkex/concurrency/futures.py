"""``APIFuture``, the future of work on a server."""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, InvalidStateError
from typing import Any, Protocol, TypeVar

from tinkex.concurrency.coroutine import AlsoCoroutine

T = TypeVar("T")


class HasCause(Protocol):
    """An object that knows why work takes long."""

    cause: str | None
    """The present trouble, or None."""


class APIFuture(Future[T], AlsoCoroutine[T]):
    """A ``concurrent.futures.Future`` that can also be awaited, more than once and by several tasks.

    ``result(timeout)`` blocks, and Ctrl-C interrupts it; on a thread that runs an event loop it stops the loop,
    so there the future should be awaited. ``concurrent.futures.wait``, ``as_completed``, ``add_done_callback`` and
    ``asyncio.wrap_future`` work as with any other future. As the future is also a coroutine, it can be given to
    ``asyncio.run``, ``asyncio.create_task``, ``gather``, ``wait_for`` and ``shield``.

    ``cancel()`` succeeds until the result is there. A server that supports this is told that the result is not
    needed any more. Cancelling a task that awaits the future cancels the future.

    Example::

        import asyncio

        async def main(service):
            making = [asyncio.create_task(service.create_sampling_client_async(base_model="tinkex/byte-lm"))]
            making += [service.create_lora_training_client_async("tinkex/byte-lm")]
            return await asyncio.gather(*making)

        with tinkex.ServiceClient(base_url="local://") as service:
            sampler, training = asyncio.run(main(service))
    """

    def __init__(self, what: str = "", trouble: HasCause | None = None) -> None:
        """Make a pending future. ``what`` names the work, and ``trouble`` its problems, in error messages."""
        super().__init__()
        self._what = what or "the result"
        self._trouble = trouble
        self._began = time.monotonic()
        self.on_cancel: Callable[[], object] | None = None
        self._first_cancel = threading.Lock()

    def result(self, timeout: float | None = None) -> T:
        """Block for the result and return it.

        Raises the error of the work if it failed, and ``TimeoutError`` after ``timeout`` seconds.
        """
        try:
            return super().result(timeout)
        except concurrent.futures.TimeoutError:
            if self.done():  # the work itself failed with a TimeoutError
                raise
            raise concurrent.futures.TimeoutError(self._not_yet(timeout)) from None
        finally:
            # The traceback of the error keeps this frame. With ``self`` in it, the future, its error and all that
            # the callers' frames refer to would live until the garbage collector finds the cycle.
            del self

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Block until the work is done; return its error, or None if it succeeded."""
        try:
            return super().exception(timeout)
        except concurrent.futures.TimeoutError:
            raise concurrent.futures.TimeoutError(self._not_yet(timeout)) from None

    def _not_yet(self, timeout: float | None) -> str:
        cause = None if self._trouble is None else self._trouble.cause
        return (
            f"{self._what} was not there within {timeout:g} s; it was asked for "
            f"{time.monotonic() - self._began:.1f} s ago"
            + (f", and the last try failed: {cause}" if cause else "")
        )

    def __await__(self) -> Generator[Any, None, T]:
        import asyncio

        return asyncio.wrap_future(self).__await__()

    async def result_async(self, timeout: float | None = None) -> T:
        """Await the result and return it. After ``timeout`` seconds, cancel the work and raise ``TimeoutError``."""
        import asyncio

        try:
            return await asyncio.wait_for(asyncio.wrap_future(self), timeout)
        except asyncio.TimeoutError:
            if self.done() and not self.cancelled():  # the work itself failed with a TimeoutError
                raise
            raise asyncio.TimeoutError(self._not_yet(timeout)) from None

    def future(self) -> Future[T]:
        """Return this future, for code that was written for the official SDK."""
        return self

    async def coroutine(self) -> T:
        """A coroutine that awaits this future, for code that takes nothing but native coroutines."""
        return await self

    def cancel(self) -> bool:
        """Give up the result; return False if it is already there."""
        cancelled = super().cancel()
        if cancelled and self._first_cancel.acquire(blocking=False):
            # ``wait`` and ``as_completed`` see a cancelled future only once this has been called.
            self.set_running_or_notify_cancel()
            hook = self.on_cancel
            if hook is not None:
                hook()
        return cancelled

    def fulfil(self, work: Callable[[], T]) -> BaseException | None:
        """Do what ``settle`` does, unless the future is cancelled."""
        return None if self.cancelled() else self.settle(work)

    def settle(self, work: Callable[[], T]) -> BaseException | None:
        """Call ``work``, and set its value or its error as the outcome if there is none yet.

        Return the error, so that ``forget_variables`` can clear its traceback, or None.
        """
        try:
            value = work()
        except BaseException as error:
            self.on_cancel = None
            return self.fail(error)
        self.on_cancel = None
        self.succeed(value)
        return None

    def succeed(self, value: T) -> bool:
        """Set ``value`` as the outcome, and return True; or return False if there is an outcome already."""
        try:
            self.set_result(value)
        except InvalidStateError:
            return False
        return True

    def fail(self, error: BaseException) -> BaseException:
        """Set ``error`` as the outcome, unless there is an outcome already, and return it."""
        try:
            self.set_exception(error)
        except InvalidStateError:
            pass
        return error


def finished(value: T) -> APIFuture[T]:
    """Return a future that already has its result."""
    future: APIFuture[T] = APIFuture()
    future.set_result(value)
    return future
