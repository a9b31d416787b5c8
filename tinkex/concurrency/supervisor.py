"""The clients of a service: they are created on an executor, listed while they are in use, and closed together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, Protocol, TypeVar

from tinkex.concurrency.at_fork import renew_after_fork
from tinkex.concurrency.executor import DaemonExecutor
from tinkex.concurrency.futures import APIFuture, HasCause
from tinkex.concurrency.living import Living


class Child(Protocol):
    """A client that a supervisor can close."""

    def close(self) -> None:
        """Close the client."""


C = TypeVar("C", bound=Child)


class ClientSupervisor:
    """Creates clients on a ``concurrent.futures`` executor, and knows those that are in use.

    A client that cannot be created leaves nothing behind and affects no other. Clients are held weakly, so a
    client that nobody uses any more is forgotten.

    Example::

        from tinkex.concurrency.executor import DaemonExecutor

        executor = DaemonExecutor(max_workers=4, name="children")
        supervisor = tinkex.ClientSupervisor(executor)
        future = supervisor.start_child(lambda: tinkex.RestClient(base_url="local://"))
        rest = future.result(timeout=60)
        print(supervisor.children())
        supervisor.shutdown()  # closes the children
        executor.shutdown()
    """

    def __init__(self, executor: DaemonExecutor) -> None:
        self.executor: Executor = executor
        self._run = executor.run_or_do
        self._children: Living[Any] = Living()
        self._lock = threading.Lock()
        self._shut_down = False
        renew_after_fork(self)

    def start_child(self, make: Callable[[], C], trouble: HasCause | None = None) -> APIFuture[C]:
        """Run ``make`` on the executor; return the future of the client that it makes.

        The ``TimeoutError`` of the future names the cause of ``trouble``, if there is one.
        """
        future: APIFuture[C] = APIFuture("the client", trouble)
        self._run(partial(self._start, make, future))
        return future

    def children(self) -> list[Any]:
        """The living clients."""
        return self._children.all()

    def shutdown(self) -> None:
        """Close all clients. Clients that are still being created are closed as soon as they exist."""
        with self._lock:
            self._shut_down = True
            children = self._children.all()
        for child in children:
            child.close()

    def _start(self, make: Callable[[], C], future: APIFuture[C]) -> BaseException | None:
        if future.done():  # given up
            return None
        try:
            child = make()
        except BaseException as error:
            return future.fail(error)
        with self._lock:
            late = self._shut_down
            if not late:
                self._children.add(child)
        if not future.succeed(child) or late:
            child.close()
        return None

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
