"""A requests adapter whose connections can be cut while other threads wait on them."""

from __future__ import annotations

import contextlib
import socket
import weakref
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager


class CuttableAdapter(HTTPAdapter):
    """An ``HTTPAdapter`` with ``cut()``, which ends every request in flight.

    A long poll blocks its thread in a read for up to minutes; closing the pool does not wake it,
    since a connection in use is not in the pool. So the pools remember the connections they made.
    """

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        _use_tracking_pools(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> PoolManager:
        manager: PoolManager = super().proxy_manager_for(proxy, **kwargs)
        _use_tracking_pools(manager)
        return manager

    def cut(self) -> None:
        """Shut every open socket; requests in flight fail at once with a connection error."""
        for manager in [self.poolmanager, *self.proxy_manager.values()]:
            for key in manager.pools.keys():
                pool = manager.pools.get(key)
                for connection in list(getattr(pool, "made", ())):
                    sock = getattr(connection, "sock", None)
                    if sock is not None:
                        with contextlib.suppress(OSError):
                            sock.shutdown(socket.SHUT_RDWR)


class _Tracking:
    """Mixed into a connection pool: remembers, weakly, the connections it made."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.made: weakref.WeakSet[Any] = weakref.WeakSet()

    def _new_conn(self) -> Any:
        connection = super()._new_conn()  # type: ignore[misc]
        self.made.add(connection)
        return connection


class _HTTPPool(_Tracking, HTTPConnectionPool):
    pass


class _HTTPSPool(_Tracking, HTTPSConnectionPool):
    pass


def _use_tracking_pools(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}
