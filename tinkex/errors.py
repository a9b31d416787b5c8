"""Everything Tinkex raises on purpose. Names follow the official SDK.

``TinkerError`` is the root. Below it, by what went wrong:

- ``InputError``: the caller's arguments; nothing was sent.
- ``APIError``: talking to the server: no connection, no answer in time, a refusal.
- ``RequestFailedError``: the server took the work and the work failed.
- ``SessionEndedError``, ``ClientClosedError``, ``ClientPoisonedError``: the client cannot go on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum
from typing import Any


class TinkerError(Exception):
    """Base of all errors of this package."""


class InputError(TinkerError, ValueError):
    """An argument that cannot be sent. Raised before anything goes over the network."""


class ConfigError(InputError):
    """A setting that cannot work: no key, a malformed key, a wrong URL."""


class SessionEndedError(TinkerError):
    """The session is over: finished, expired or refused by the server.

    ``session_id`` names it; ``status_code`` is the HTTP status that said so.
    """

    def __init__(self, message: str, session_id: str, status_code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.session_id = session_id
        self.status_code = status_code

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.session_id, self.status_code)


class ClientClosedError(TinkerError):
    """The client was closed, so it sends nothing more."""


class ClientPoisonedError(TinkerError):
    """A training client whose server-side state is unknown.

    A request was sent and its outcome could not be learned, so any further request could train on
    the wrong weights. ``checkpoint`` is the last saved state to resume from, if there is one;
    ``__cause__`` is the error that made the outcome unknown.
    """

    def __init__(self, message: str, checkpoint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.checkpoint = checkpoint

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.checkpoint)


class ExperimentalWarning(FutureWarning):
    """What the official client warns with of calls that may change; this package warns of none."""


class RequestErrorCategory(str, Enum):
    """Whose fault it is that work failed. Each is equal to its text: ``"user"``, ``"server"``, ``"unknown"``."""

    Unknown = "unknown"
    Server = "server"
    User = "user"

    __str__ = str.__str__

    @classmethod
    def _missing_(cls, value: object) -> RequestErrorCategory:
        return cls.Unknown


class RequestFailedError(TinkerError):
    """The server accepted the work and the work failed; it is never retried.

    ``category`` is ``"user"``, ``"server"`` or ``"unknown"``, as the server reports it.
    """

    def __init__(self, message: str, request_id: str, category: str = "unknown") -> None:
        super().__init__(message)
        self.message = message
        self.request_id = request_id
        self.category: RequestErrorCategory = RequestErrorCategory(category)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.request_id, self.category)


class APIError(TinkerError):
    """A failure in talking to the server, named by ``method`` and ``url`` (never with a key)."""

    sent: bool = True
    """False when the server surely did not accept the request, in none of its tries."""
    repeated: bool = False
    """True when an earlier try of the call may have been accepted, so that this answer may be to its repetition."""

    def __init__(self, message: str, *, method: str = "", url: str = "", body: object = None) -> None:
        super().__init__(message)
        self.message = message
        self.method = method
        self.url = url
        self.body = body

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), str(self), self.__dict__)


class APIConnectionError(APIError):
    """No connection, or one that broke before the answer was whole."""

    def __init__(
        self, message: str = "Connection error.", *, method: str = "", url: str = "", sent: bool = True
    ) -> None:
        super().__init__(message, method=method, url=url)
        self.sent = sent


class APITimeoutError(APIConnectionError):
    """The server did not answer in time."""


class APIResponseValidationError(APIError):
    """The answer is not what the protocol says it should be."""


class APIStatusError(APIError):
    """The server answered with a 4xx or 5xx status.

    ``status_code``, ``body`` (decoded JSON, else text), ``headers`` of the answer, and
    ``request_id`` (its ``x-request-id`` header) are kept as the server sent them.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        method: str = "",
        url: str = "",
    ) -> None:
        super().__init__(message, method=method, url=url, body=body)
        self.status_code = status_code
        self.headers: dict[str, str] = {k.lower(): v for k, v in (headers or {}).items()}
        self.request_id: str | None = self.headers.get("x-request-id")
        self.sent: bool = leaves_open(status_code, body)


class BadRequestError(APIStatusError):
    """400: the request was malformed."""


class AuthenticationError(APIStatusError):
    """401: the credential is missing or was not accepted."""


class BillingError(APIStatusError):
    """402: the account cannot be billed."""


class PermissionDeniedError(APIStatusError):
    """403: the credential does not reach this resource."""


class NotFoundError(APIStatusError):
    """404: there is no such thing here."""


class ConflictError(APIStatusError):
    """409: the request does not fit the resource's present state."""


class UnprocessableEntityError(APIStatusError):
    """422: the request was read but its content cannot be accepted."""


class RateLimitError(APIStatusError):
    """429: too many requests."""


class InternalServerError(APIStatusError):
    """5xx: the server failed."""


_BY_STATUS: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    402: BillingError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    422: UnprocessableEntityError,
    429: RateLimitError,
}


def leaves_open(status_code: int, body: object = None) -> bool:
    """Whether a request may have been accepted although it was answered with this status and ``body``.

    A server that refuses a request says so in a JSON object. Anything else may come from a proxy, which cannot
    know. A 409 says that the server has taken another request under the same number.
    """
    return status_code >= 500 or status_code in (408, 409) or not isinstance(body, dict)


def status_error(
    status_code: int,
    content: bytes,
    headers: Mapping[str, str],
    *,
    method: str,
    url: str,
) -> APIStatusError:
    """The typed error of an HTTP answer with a 4xx or 5xx status."""
    body = decode_body(content)
    kind = _BY_STATUS.get(status_code) or (InternalServerError if status_code >= 500 else APIStatusError)
    message = f"{status_code} from {method} {url}: {describe_body(body)}"
    error = kind(message, status_code=status_code, body=body, headers=headers, method=method, url=url)
    if error.request_id:
        error.args = (f"{message} (request id {error.request_id})",)
    return error


def decode_body(content: bytes) -> object:
    """The JSON in ``content``, else its text; None if there is nothing."""
    if not content:
        return None
    text = content.decode("utf-8", "replace")
    try:
        decoded: object = json.loads(text)
    except ValueError:
        return text
    return decoded


def describe_body(body: object) -> str:
    """The server's own words, shortened: ``detail``, ``error`` or ``message`` where it has one."""
    if isinstance(body, dict):
        for name in ("detail", "error", "message"):
            if body.get(name):
                body = body[name]
                break
    text = body if isinstance(body, str) else json.dumps(body) if body is not None else "(no body)"
    return text if len(text) <= 500 else text[:500] + "…"


def _rebuild(kind: type[APIError], text: str, state: dict[str, Any]) -> APIError:
    error = kind.__new__(kind, text)
    error.__dict__.update(state)
    return error
