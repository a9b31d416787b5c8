"""Clients that are returned before they are made, so that an event loop is not blocked meanwhile."""

from __future__ import annotations

import contextvars
import logging
import sys
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from tinkex.concurrency.at_fork import renew_after_fork
from tinkex.concurrency.futures import APIFuture, finished

T = TypeVar("T")
Self = TypeVar("Self", bound="Created")
logger = logging.getLogger("tinkex")


class Created:
    """A client that is also the future of itself.

    A method that creates a client blocks until the client is made. On a thread that runs an event loop it returns
    at once a client that is still being made. ``await client`` and ``client.result()`` give the client when it is
    ready; the first use of it waits for that, without blocking the loop if it is an ``_async`` method. All of them
    raise the error if the client cannot be made, and an error that nobody has seen by the time the client is
    collected as garbage is logged. ``close()`` gives the creation up.

    A client that is made already is a finished future.

    Example::

        import asyncio

        async def main(service):
            first = service.create_sampling_client(base_model="tinkex/byte-lm")  # neither call blocks
            second = service.create_sampling_client(base_model="tinkex/byte-lm")
            print(first.done(), await second)

        with tinkex.ServiceClient(base_url="local://") as service:
            asyncio.run(main(service))
    """

    _creation: Creation | None = None
    """How this client is made, or None if it was made before it was returned."""

    def result(self: Self, timeout: float | None = None) -> Self:
        """Return this client; block until it is made.

        Raises the error if it cannot be made, and ``TimeoutError`` after ``timeout`` seconds.
        """
        return self if self._creation is None else self._creation.future.result(timeout)

    async def result_async(self: Self, timeout: float | None = None) -> Self:
        """Await this client, and return it. After ``timeout`` seconds, give it up and raise ``TimeoutError``."""
        return self if self._creation is None else await self._creation.future.result_async(timeout)

    def future(self: Self) -> Future[Self]:
        """Return the ``concurrent.futures.Future`` of this client."""
        return finished(self) if self._creation is None else self._creation.future

    async def coroutine(self: Self) -> Self:
        """A coroutine that returns this client as soon as it is made, for ``asyncio.create_task`` and the like."""
        return await self

    def done(self) -> bool:
        """Return whether the client has been made, or cannot be made."""
        return self._creation is None or self._creation.done()

    def __await__(self: Self) -> Generator[Any, None, Self]:
        if self._creation is None:
            return self
        made: Self = yield from self._creation.future.__await__()
        return made

    def __repr__(self) -> str:
        state = None if self._creation is None else self._creation.state()
        return self._described() if state is None else f"<{type(self).__name__}, {state}>"

    def _described(self) -> str:
        """Return the ``repr`` of the client, once it is made."""
        return object.__repr__(self)

    def _given_up(self, error: Exception) -> bool:
        """Give up the creation if it still goes on, with ``error``. Return whether there will be no client."""
        return self._creation is not None and self._creation.give_up(error)

    if not TYPE_CHECKING:  # else type checkers would accept any name

        def __getattr__(self, name: str) -> Any:
            """Wait until the client is made, and take over its attributes; a client being made has none."""
            # Python, copy and IPython look for names such as __deepcopy__ and _repr_html_ everywhere.
            probed = name.startswith("_") and name.endswith("_")
            if self._creation is not None and not probed:
                try:
                    made = vars(self._creation.future.result())
                    for key, value in made.items():
                        self.__dict__.setdefault(key, value)
                    if name in made:
                        return made[name]
                except BaseException:
                    # The traceback of the error keeps this frame, and the frame would keep the error.
                    del self
                    raise
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


class Creation:
    """The creation of a client that was returned before it was made."""

    def __init__(self, future: APIFuture[Any]) -> None:
        self._future = future
        self._seen = False
        renew_after_fork(self)

    @property
    def future(self) -> APIFuture[Any]:
        """The future of the client, for somebody who sees its outcome."""
        self._seen = True
        return self._future

    def done(self) -> bool:
        """Return whether the client is made, or cannot be made."""
        return self._future.done()

    def state(self) -> str | None:
        """Return what a ``repr`` says of a client that is not made, or None if it is made."""
        if not self._future.done():
            return "being made"
        if self._future.cancelled():
            return "given up"
        error = self._future.exception()
        return None if error is None else f"which could not be made: {error!r}"

    def give_up(self, error: Exception) -> bool:
        """Let the creation fail with ``error``, unless it is done. Return whether there will be no client."""
        self.future.fail(error)
        return self.state() is not None

    async def over(self) -> None:
        """Wait until the client is made; raises the error if it cannot be made.

        A caller that is cancelled does not cancel the creation, since others may wait for the same client.
        """
        import asyncio

        if not self.done():
            await asyncio.shield(asyncio.wrap_future(self.future))

    def __del__(self) -> None:
        if not self._seen:
            self._future.add_done_callback(_log_failure)

    def _after_fork(self) -> None:
        # A child process has no thread that would go on. The lock of the future may be held for ever.
        if self._future._state not in ("FINISHED", "CANCELLED_AND_NOTIFIED"):
            self._future = APIFuture("the client")
            self._future.set_exception(
                RuntimeError(
                    "the client was still being made when the process was forked; make one in the child"
                )
            )


def being_made(kind: type[Self], future: APIFuture[Self]) -> Self:
    """Return a client of class ``kind`` that is still being made: that of ``future``."""
    client = kind.__new__(kind)
    client._creation = Creation(future)
    return client


def after(first: APIFuture[Any], start: Callable[[], APIFuture[T]]) -> APIFuture[T]:
    """Return the future of ``start()``, which is called as soon as ``first`` has succeeded.

    If ``first`` fails, the future fails with the same error. Cancelling it cancels that of ``start()``.
    """
    future: APIFuture[T] = APIFuture("the client")
    context = contextvars.copy_context()

    def go(_: Future[Any]) -> None:
        if future.done():
            return
        if first.cancelled():
            future.cancel()
            return
        error = first.exception()
        if error is not None:
            future.fail(error)
            return
        try:
            second = context.run(start)
        except BaseException as refused:
            future.fail(refused)
            return
        future.on_cancel = second.cancel
        if future.cancelled():
            second.cancel()
        second.add_done_callback(finish)

    def finish(second: Future[T]) -> None:
        if second.cancelled():
            future.cancel()
            return
        error = second.exception()
        if error is None:
            future.succeed(second.result())
        else:
            future.fail(error)

    first.add_done_callback(go)
    return future


def runs_event_loop() -> bool:
    """Return whether the current thread runs an event loop of asyncio, of whatever make."""
    # Whoever runs a loop has imported asyncio, which takes longer to import than this package.
    events = sys.modules.get("asyncio.events")
    running = getattr(events, "_get_running_loop", None)  # there is none while asyncio is being imported
    return running is not None and running() is not None


def _log_failure(future: Future[Any]) -> None:
    if not future.cancelled():
        error = future.exception()
        if error is not None:
            logger.error("a client could not be made, and nobody has used it: %s", error)
