"""The base class of the REST clients: the connection to the server, threads, and futures."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from tinkex.api.connect import connect
from tinkex.concurrency.created import Created
from tinkex.concurrency.executor import DaemonExecutor
from tinkex.concurrency.futures import APIFuture
from tinkex.concurrency.living import Living
from tinkex.config import Config
from tinkex.download.fetch import Fetcher
from tinkex.errors import ClientClosedError
from tinkex.http.transport import Transport
from tinkex.session.session import AttachedSession
from tinkex.session.telemetry import Telemetry

T = TypeVar("T")
C = TypeVar("C", bound="RestBase")

REST_THREADS = 32
"""The most calls at once of a client without a session. More calls wait."""


class RestBase(Created):
    """A client that needs no session. It has a connection of its own, or uses that of a ``ServiceClient``."""

    def __init__(
        self, *, base_url: str | None = None, api_key: str | None = None, config: Config | None = None
    ) -> None:
        """Connect to the server, which blocks for one round trip.

        ``base_url`` and ``api_key`` override those of ``config``. Without ``config`` the settings come from the
        environment. Raises ``ConfigError`` if a setting is not valid, and ``APIError`` if the server cannot be
        reached or refuses the credential. The client should be closed, or used in a ``with`` block.
        """
        config = Config.resolve(config, base_url=base_url, api_key=api_key)
        transport, _ = connect(config)
        self._set_up(config, transport, DaemonExecutor(REST_THREADS, "rest"), None)

    @classmethod
    def _of(cls: type[C], session: AttachedSession) -> C:
        """Return a client that uses the connection and the threads of a session."""
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
        self._fetchers: Living[Fetcher] = Living()

    def _described(self) -> str:
        return f"{type(self).__name__}({self._transport.base_url!r})"

    def __enter__(self: C) -> C:
        self._check()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def get_telemetry(self) -> Telemetry | None:
        """The telemetry of the ``ServiceClient`` that made this client, or None if none did."""
        return None if self._session is None else self._session.telemetry

    def close(self) -> None:
        """Close the client. Calls and downloads in progress raise ``ClientClosedError``.

        A client that uses a session leaves the session open, and ends only its downloads.
        """
        self._closed = True
        if self._session is None:
            self._transport.close()
            self._executor.shutdown(wait=False)
        for fetcher in self._fetchers.all():
            fetcher.close()

    def _check(self) -> None:
        if self._closed:
            raise ClientClosedError(f"this {type(self).__name__} was closed")
        if self._session is not None:
            self._session.check()

    def _start(self, work: Callable[..., T], *args: Any) -> APIFuture[T]:
        """Run ``work(transport, *args)`` on a thread; return the future of its result."""
        future: APIFuture[T] = APIFuture()
        self._run(future, functools.partial(work, self._transport, *args))
        return future

    def _run(self, future: APIFuture[T], work: Callable[[], T]) -> None:
        self._check()
        self._executor.run(functools.partial(future.fulfil, work))
