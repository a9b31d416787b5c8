"""What the administration clients share: a way to the server, threads, and futures."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any, TypeVar

from tinkex.api.connect import connect
from tinkex.concurrency.executor import DaemonExecutor
from tinkex.concurrency.futures import APIFuture
from tinkex.concurrency.supervisor import Created
from tinkex.config import Config
from tinkex.download.fetch import Fetcher
from tinkex.errors import ClientClosedError
from tinkex.http.transport import Transport
from tinkex.session.session import AttachedSession
from tinkex.session.telemetry import Telemetry

T = TypeVar("T")
C = TypeVar("C", bound="RestBase")

REST_THREADS = 32
"""Calls at once of a client that stands alone; others wait for their turn."""


class RestBase(Created):
    """A client that needs no session: over a connection of its own, or over that of a ``ServiceClient``."""

    def __init__(
        self, *, base_url: str | None = None, api_key: str | None = None, config: Config | None = None
    ) -> None:
        """A client that stands alone; close it, or use it in a ``with`` block. Blocks for one round trip.

        ``base_url`` and ``api_key`` default to ``TINKER_BASE_URL`` and ``TINKER_API_KEY``; ``config`` is
        taken as it is, with those over it. Raises ``ConfigError`` or ``APIError``.
        """
        given = {"base_url": base_url, "api_key": api_key}
        overrides: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        config = replace(config, **overrides) if config is not None else Config.from_env(**overrides)
        transport, _ = connect(config)
        self._set_up(config, transport, DaemonExecutor(REST_THREADS, "rest"), None)

    @classmethod
    def _of(cls: type[C], session: AttachedSession) -> C:
        """A client over the connection and the threads of a session, for as long as that lives."""
        client = cls.__new__(cls)
        client._set_up(session.config, session.transport, session.executor, session)
        return client

    def _set_up(
        self, config: Config, transport: Transport, executor: DaemonExecutor, session: AttachedSession | None
    ) -> None:
        self.config = config
        self._transport = transport
        self._executor = executor
        self._session = session
        self._closed = False
        self._fetchers: weakref.WeakSet[Fetcher] = weakref.WeakSet()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._transport.base_url!r})"

    def __enter__(self: C) -> C:
        self._check()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def get_telemetry(self) -> Telemetry | None:
        """That of the ``ServiceClient`` that made this client; None for one that stands alone."""
        return None if self._session is None else self._session.telemetry

    def close(self) -> None:
        """Send nothing more. Calls still under way, downloads too, raise ``ClientClosedError``.

        Over a session, what is under way goes on but for downloads; the session stays open.
        """
        self._closed = True
        if self._session is None:
            self._transport.close()
            self._executor.shutdown(wait=False)
        for fetcher in list(self._fetchers):
            fetcher.close()

    def _check(self) -> None:
        if self._closed:
            raise ClientClosedError(f"this {type(self).__name__} was closed")
        if self._session is not None:
            self._session.check()

    def _start(self, work: Callable[..., T], *args: Any) -> APIFuture[T]:
        """The future of ``work(transport, *args)``, which runs on a thread."""
        future: APIFuture[T] = APIFuture()
        self._run(future, functools.partial(work, self._transport, *args))
        return future

    def _run(self, future: APIFuture[T], work: Callable[[], T]) -> None:
        self._check()
        self._executor.run(functools.partial(future.fulfil, work))
