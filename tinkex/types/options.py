"""Names of the official SDK for annotations. Tinkex takes the settings of its requests in ``Config``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Generic, TypedDict, TypeVar

R = TypeVar("R")


@dataclass(frozen=True, init=False)
class Timeout:
    """Times in seconds after which a request fails; None means never. The arguments are those of ``httpx.Timeout``."""

    connect: float | None
    read: float | None
    write: float | None
    pool: float | None

    def __init__(self, timeout: float | Timeout | None = None, **times: float | None) -> None:
        """Take ``timeout`` for each of ``connect``, ``read``, ``write`` and ``pool`` that ``times`` does not name."""
        names = [field.name for field in fields(self)]
        unknown = times.keys() - names
        if unknown:
            raise TypeError(f"Timeout has no {', '.join(sorted(unknown))}")
        for name in names:
            default = getattr(timeout, name) if isinstance(timeout, Timeout) else timeout
            object.__setattr__(self, name, times.get(name, default))


class RequestOptions(TypedDict, total=False):
    """Settings of one request of the official SDK."""

    headers: Mapping[str, str]
    max_retries: int
    timeout: float | Timeout | None
    params: Mapping[str, object]
    extra_json: Mapping[str, object]
    idempotency_key: str
    follow_redirects: bool


@dataclass(frozen=True)
class APIResponse(Generic[R]):
    """An answer of a server, with what was read from it. No method of Tinkex returns it; annotations name it."""

    http_response: Any
    """The response of the HTTP library."""
    parsed: R

    @property
    def status_code(self) -> int:
        """The HTTP status."""
        status: int = self.http_response.status_code
        return status

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers."""
        headers: Mapping[str, str] = self.http_response.headers
        return headers

    def parse(self) -> R:
        """Return what was read from the answer."""
        return self.parsed


class AsyncAPIResponse(APIResponse[R]):
    """An ``APIResponse`` under the name that the official asynchronous client has for it."""
