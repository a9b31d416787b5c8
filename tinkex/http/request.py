"""One HTTP request to a server, and how it is to be tried."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import NamedTuple

from tinkex.http.auth import Credential
from tinkex.http.response import JSON

_NOTHING: Mapping[str, str] = MappingProxyType({})


class Request(NamedTuple):
    """A request, whose ``path`` comes after ``/api/v1``. All its tries have the same idempotency key."""

    method: str
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] = _NOTHING
    content_type: str = JSON
    """The type of the body."""
    query: Mapping[str, object] = _NOTHING
    """The parameters of the URL. Those that are None are left out."""
    credential: Credential | None = None
    """The credential to send; by default that of the transport."""
    timeout: float | None = None
    """The seconds for which the server may be silent in one try; by default ``Config.read_timeout``."""
    tries: int | None = None
    """The most tries; by default ``Config.max_tries``."""
    limit: int | None = None
    """The largest content of the answer in bytes; by default ``Config.max_message_bytes``. With 0 it is not read."""
    raise_for_status: bool = True
    """If False, a refusal is given to the reader of the answer instead of raised."""
    expected: Collection[int] = ()
    """Statuses of redirects that are answers. All other redirects are failed tries."""
    final: Collection[int] = ()
    """Statuses of refusals that are not tried again."""
    doubt_proxies: bool = False
    """Try again after a refusal that is not a JSON object, because it may come from a proxy."""
