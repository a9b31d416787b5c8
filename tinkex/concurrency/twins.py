"""The decorators that make blocking and ``_async`` methods of one body."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, ParamSpec, TypeVar

from tinkex.concurrency.created import Created, after, being_made, runs_event_loop
from tinkex.concurrency.futures import APIFuture

C = TypeVar("C", bound=Created)
P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

Twin = Callable[[Callable[..., object]], Callable[P, R]]
"""A decorator of a declaration, which is a method with a name and a docstring but no body."""


def blocking(method: Callable[P, APIFuture[T]]) -> Callable[P, T]:
    """Turn a method that returns a future into one that blocks for the result."""

    def block(*args: P.args, **kwargs: P.kwargs) -> T:
        return method(*args, **kwargs).result()

    return _declared(block, method, _result_of(method))(method)


def creating(kind: type[C]) -> Callable[[Callable[P, APIFuture[C]]], Callable[P, C]]:
    """Turn a method that returns the future of a client of class ``kind`` into one that returns the client.

    The method blocks until the client is made. On a thread that runs an event loop it returns at once a client
    that is still being made; see ``Created``.
    """

    def decorate(method: Callable[P, APIFuture[C]]) -> Callable[P, C]:
        def create(*args: P.args, **kwargs: P.kwargs) -> C:
            if runs_event_loop():
                return being_made(kind, _started(method, *args, **kwargs))
            return method(*args, **kwargs).result()

        return _declared(create, method, _result_of(method))(method)

    return decorate


def future_of(method: Callable[P, T]) -> Twin[P, APIFuture[T]]:
    """Make the ``_async`` twin of a ``creating`` method: a method that returns the future at once."""
    start: Callable[P, APIFuture[T]] = _unblocked(method)

    def twin(*args: P.args, **kwargs: P.kwargs) -> APIFuture[T]:
        return _started(start, *args, **kwargs)

    return _declared(twin, start, start.__annotations__["return"])


def at_once(method: Callable[P, APIFuture[T]]) -> Twin[P, Coroutine[Any, Any, APIFuture[T]]]:
    """Make the ``_async`` twin of a method that returns a future: a coroutine function of that future.

    The official SDK has such twins: awaiting the call gives the future, and awaiting the future the result.
    """

    async def twin(*args: P.args, **kwargs: P.kwargs) -> APIFuture[T]:
        client: Any = args[0]
        if client._creation is not None:
            await client._creation.over()
        return method(*args, **kwargs)

    return _declared(twin, method, method.__annotations__["return"])


def awaited(method: Callable[P, Awaitable[T]]) -> Twin[P, Coroutine[Any, Any, T]]:
    """Make the ``_async`` twin of a method that returns a future: a coroutine function of the result.

    ``method`` may also be a ``blocking`` or ``creating`` method; the twin does not block.
    """
    start: Callable[P, APIFuture[T]] = _unblocked(method)

    async def twin(*args: P.args, **kwargs: P.kwargs) -> T:
        client: Any = args[0]
        if client._creation is not None:
            await client._creation.over()
        return await start(*args, **kwargs)

    return _declared(twin, start, _result_of(start))


def _started(method: Callable[P, APIFuture[T]], /, *args: P.args, **kwargs: P.kwargs) -> APIFuture[T]:
    """Call ``method``, or if its client is still being made, let it be called as soon as the client is made."""
    creation = args[0]._creation if isinstance(args[0], Created) else None
    if creation is None or creation.done():
        return method(*args, **kwargs)
    return after(creation.future, partial(method, *args, **kwargs))


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
    """Return the method to which ``blocking`` or ``creating`` was applied, or else ``method`` itself."""
    return getattr(method, "__wrapped__", method)


def _result_of(method: Callable[P, APIFuture[T]]) -> str:
    """Return the annotation of the result: ``int`` for a method annotated with ``APIFuture[int]``."""
    annotation: str = method.__annotations__["return"]
    return annotation.removeprefix("APIFuture[").removesuffix("]")
