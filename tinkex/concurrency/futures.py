"""``APIFuture``: the result of work on the server, when it comes."""

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
"""A decorator that turns a declaration, a method with a name and a docstring alone, into a method."""


class HasCause(Protocol):
    """Knows what goes wrong at present, None if nothing does."""

    cause: str | None


class APIFuture(Future[T]):
    """A ``concurrent.futures.Future`` that can also be awaited.

    ``result(timeout)`` blocks and can be interrupted by Ctrl-C; ``concurrent.futures.wait`` and
    ``as_completed``, ``add_done_callback`` and ``asyncio.wrap_future`` work as on any other.
    ``cancel()`` succeeds until the result is there; the server is told where it can be.
    """

    def __init__(self, what: str = "", trouble: HasCause | None = None) -> None:
        """``what`` is waited for; ``trouble`` knows why it takes its time. Both are for error messages."""
        super().__init__()
        self._what = what or "the result"
        self._trouble = trouble
        self._began = time.monotonic()
        self.on_cancel: Callable[[], None] | None = None
        self._first_cancel = threading.Lock()

    def result(self, timeout: float | None = None) -> T:
        """The result, waited for at most ``timeout`` seconds; raises ``TimeoutError`` then, saying for what."""
        try:
            return super().result(timeout)
        except concurrent.futures.TimeoutError:
            if self.done():  # it is the error of the work itself
                raise
            raise concurrent.futures.TimeoutError(self._not_yet(timeout)) from None

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The error of the work, None if it succeeded; waits as ``result`` does."""
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
        import asyncio  # costs as much to import as half the package

        return asyncio.wrap_future(self).__await__()

    async def result_async(self, timeout: float | None = None) -> T:
        """The result, awaited for at most ``timeout`` seconds."""
        import asyncio

        return await asyncio.wait_for(asyncio.wrap_future(self), timeout)

    def cancel(self) -> bool:
        """Give up on the result; False if it is already there."""
        cancelled = super().cancel()
        if cancelled and self._first_cancel.acquire(blocking=False):
            # ``wait`` and ``as_completed`` see a cancelled future only once this has been called.
            self.set_running_or_notify_cancel()
            hook = self.on_cancel
            if hook is not None:
                hook()
        return cancelled

    def fulfil(self, work: Callable[[], T]) -> BaseException | None:
        """Set the outcome of ``work()``, be it a value or an error; nothing happens if cancelled meanwhile.

        Returns the error, whose traceback still has the variables of ``work``; see ``forget_variables``.
        """
        if self.cancelled():
            return None
        try:
            value = work()
        except BaseException as error:
            self.on_cancel = None
            return self.fail(error)
        self.on_cancel = None
        try:
            self.set_result(value)
        except InvalidStateError:
            pass
        return None

    def fail(self, error: BaseException) -> BaseException:
        """Set an error, unless there is an outcome already; returns the error."""
        try:
            self.set_exception(error)
        except InvalidStateError:
            pass
        return error


def finished(value: T) -> APIFuture[T]:
    """A future that already has its result."""
    future: APIFuture[T] = APIFuture()
    future.set_result(value)
    return future


def blocking(method: Callable[P, APIFuture[T]]) -> Callable[P, T]:
    """Turn a method that returns a future into one that blocks for the result."""

    def block(*args: P.args, **kwargs: P.kwargs) -> T:
        return method(*args, **kwargs).result()

    return _declared(block, method, _result_of(method))(method)


def future_of(method: Callable[P, T]) -> Twin[P, APIFuture[T]]:
    """The ``_async`` twin of a ``blocking`` method: the call returns the future, and does not block."""
    start: Callable[P, APIFuture[T]] = _unblocked(method)

    def twin(*args: P.args, **kwargs: P.kwargs) -> APIFuture[T]:
        return start(*args, **kwargs)

    return _declared(twin, start, start.__annotations__["return"])


def at_once(method: Callable[P, APIFuture[T]]) -> Twin[P, Coroutine[Any, Any, APIFuture[T]]]:
    """The ``_async`` twin of a method that returns a future: awaiting the call gives the future, as officially."""

    async def twin(*args: P.args, **kwargs: P.kwargs) -> APIFuture[T]:
        return method(*args, **kwargs)

    return _declared(twin, method, method.__annotations__["return"])


def awaited(method: Callable[P, Awaitable[T]]) -> Twin[P, Coroutine[Any, Any, T]]:
    """The ``_async`` twin of a method that returns a future: awaiting the call gives the result.

    ``method`` may also be a ``blocking`` method that makes a client; the twin does not block.
    """
    start: Callable[P, APIFuture[T]] = _unblocked(method)

    async def twin(*args: P.args, **kwargs: P.kwargs) -> T:
        return await start(*args, **kwargs)

    return _declared(twin, start, _result_of(start))


def _declared(function: Callable[P, R], method: Callable[P, Any], returns: str) -> Twin[P, R]:
    """A decorator that gives ``function``, named and described as in a declaration.

    ``inspect.signature`` shows the parameters of ``method``, and ``returns`` as what the function returns.
    """

    def decorate(declaration: Callable[..., object]) -> Callable[P, R]:
        shown: Any = functools.update_wrapper(function, declaration)
        shown.__annotations__ = {**method.__annotations__, "return": returns}
        shown.__signature__ = inspect.signature(method).replace(return_annotation=returns)
        return function

    return decorate


def _unblocked(method: Callable[P, Any]) -> Any:
    """The method that returns a future: the one that ``blocking`` was applied to, or ``method`` itself."""
    return getattr(method, "__wrapped__", method)


def _result_of(method: Callable[P, APIFuture[T]]) -> str:
    """The annotation of the result: ``int`` for a method annotated with ``APIFuture[int]``."""
    annotation: str = method.__annotations__["return"]
    return annotation.removeprefix("APIFuture[").removesuffix("]")
