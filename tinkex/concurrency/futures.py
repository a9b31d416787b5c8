"""``APIFuture``, the future of work on a server, and the decorators that make blocking and ``_async`` methods."""

from __future__ import annotations

import concurrent.futures
import functools
import inspect
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from concurrent.futures import Future, InvalidStateError
from typing import Any, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

Twin = Callable[[Callable[..., object]], Callable[P, R]]
"""A decorator of a declaration, which is a method with a name and a docstring but no body."""


class HasCause(Protocol):
    """An object that knows why work takes long."""

    cause: str | None
    """The present trouble, or None."""


class APIFuture(Future[T]):
    """A ``concurrent.futures.Future`` that can also be awaited.

    ``result(timeout)`` blocks, and Ctrl-C interrupts it. ``concurrent.futures.wait``, ``as_completed``,
    ``add_done_callback`` and ``asyncio.wrap_future`` work as with any other future. ``cancel()`` succeeds
    until the result is there. A server that supports this is told that the result is not needed any more.
    """

    def __init__(self, what: str = "", trouble: HasCause | None = None) -> None:
        """Make a pending future. ``what`` names the work, and ``trouble`` its problems, in error messages."""
        super().__init__()
        self._what = what or "the result"
        self._trouble = trouble
        self._began = time.monotonic()
        self.on_cancel: Callable[[], None] | None = None
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

    def succeed(self, value: T) -> None:
        """Set ``value`` as the outcome, if there is none yet."""
        try:
            self.set_result(value)
        except InvalidStateError:
            pass

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


def blocking(method: Callable[P, APIFuture[T]]) -> Callable[P, T]:
    """Turn a method that returns a future into one that blocks for the result."""

    def block(*args: P.args, **kwargs: P.kwargs) -> T:
        return method(*args, **kwargs).result()

    return _declared(block, method, _result_of(method))(method)


def future_of(method: Callable[P, T]) -> Twin[P, APIFuture[T]]:
    """Make the ``_async`` twin of a ``blocking`` method: a method that returns the future at once."""
    start: Callable[P, APIFuture[T]] = _unblocked(method)

    def twin(*args: P.args, **kwargs: P.kwargs) -> APIFuture[T]:
        return start(*args, **kwargs)

    return _declared(twin, start, start.__annotations__["return"])


def at_once(method: Callable[P, APIFuture[T]]) -> Twin[P, Coroutine[Any, Any, APIFuture[T]]]:
    """Make the ``_async`` twin of a method that returns a future: a coroutine function of that future.

    The official SDK has such twins: awaiting the call gives the future, and awaiting the future the result.
    """

    async def twin(*args: P.args, **kwargs: P.kwargs) -> APIFuture[T]:
        return method(*args, **kwargs)

    return _declared(twin, method, method.__annotations__["return"])


def awaited(method: Callable[P, Awaitable[T]]) -> Twin[P, Coroutine[Any, Any, T]]:
    """Make the ``_async`` twin of a method that returns a future: a coroutine function of the result.

    ``method`` may also be a ``blocking`` method; the twin does not block.
    """
    start: Callable[P, APIFuture[T]] = _unblocked(method)

    async def twin(*args: P.args, **kwargs: P.kwargs) -> T:
        return await start(*args, **kwargs)

    return _declared(twin, start, _result_of(start))


def _declared(function: Callable[P, R], method: Callable[P, Any], returns: str) -> Twin[P, R]:
    """Return a decorator that replaces a declaration by ``function``, with the declaration's name and docstring.

    ``inspect.signature`` of the function shows the parameters of ``method`` and the return annotation
    ``returns``.
    """

    def decorate(declaration: Callable[..., object]) -> Callable[P, R]:
        shown: Any = functools.update_wrapper(function, declaration)
        shown.__annotations__ = {**method.__annotations__, "return": returns}
        shown.__signature__ = inspect.signature(method).replace(return_annotation=returns)
        return function

    return decorate


def _unblocked(method: Callable[P, Any]) -> Any:
    """Return the method to which ``blocking`` was applied, or ``method`` itself if it is not ``blocking``."""
    return getattr(method, "__wrapped__", method)


def _result_of(method: Callable[P, APIFuture[T]]) -> str:
    """Return the annotation of the result: ``int`` for a method annotated with ``APIFuture[int]``."""
    annotation: str = method.__annotations__["return"]
    return annotation.removeprefix("APIFuture[").removesuffix("]")
