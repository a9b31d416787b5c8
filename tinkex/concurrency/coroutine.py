"""A base class for awaitable objects that are coroutines, too."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

T_co = TypeVar("T_co", covariant=True)


class AlsoCoroutine(Coroutine[Any, Any, T_co]):
    """Makes a coroutine of an object that has ``__await__`` and ``cancel``.

    ``asyncio.run``, ``asyncio.create_task`` and ``TaskGroup.create_task`` take coroutines alone. Unlike a native
    coroutine, the object may be run by several tasks, and nobody is warned if no task runs it.
    """

    _runs: dict[object, Generator[Any, Any, T_co]] | None = None
    """What each task that runs this object as its coroutine awaits."""

    def send(self, value: Any, /) -> Any:
        """Go on until the next wait. Only event loops call this."""
        return self._step(lambda run: run.send(value))

    def throw(self, *error: Any) -> Any:
        """Raise an error where the running task waits. Only event loops call this."""
        if _task() not in (self._runs or ()):
            # A task that is cancelled before it began does not get to cancel what it was to await.
            this: Any = self
            this.cancel()
        return self._step(lambda run: run.throw(*error))

    def close(self) -> None:
        """End the run of the running task. The work itself goes on; ``cancel`` gives it up."""
        run = (self._runs or {}).pop(_task(), None)
        if run is not None:
            run.close()

    def _step(self, step: Callable[[Generator[Any, Any, T_co]], Any]) -> Any:
        task = _task()
        runs = self._runs = {} if self._runs is None else self._runs
        if task not in runs:
            runs[task] = self.__await__()
        try:
            return step(runs[task])
        except BaseException:  # StopIteration brings the result
            runs.pop(task, None)
            raise


def _task() -> object:
    """Return the running task of asyncio, or None."""
    import asyncio

    try:
        return asyncio.current_task()
    except RuntimeError:
        return None
