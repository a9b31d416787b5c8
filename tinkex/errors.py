"""The errors that Tinkex raises. Their names follow the official SDK.

``TinkerError`` is the base class. Its subclasses say what went wrong:

- ``InputError``: an argument of the caller is wrong; nothing was sent.
- ``APIError``: the exchange with the server failed: no connection, no answer in time, or a refusal.
- ``RequestFailedError``: the server accepted the work, and the work failed.
- ``SessionEndedError``, ``ClientClosedError``, ``ClientPoisonedError``: the client cannot be used any more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum
from typing import Any


class TinkerError(Exception):
    """Base class of all errors of this package."""


class InputError(TinkerError, ValueError):
    """An argument is not valid. Raised before anything is sent."""


class ConfigError(InputError):
    """A setting is missing or not valid, such as an API key or a URL."""


class SessionEndedError(TinkerError):
    """The server has ended the session, or does not know it any more.

    ``session_id`` is the id of the session, and ``status_code`` the HTTP status that reported its end.
    """

    def __init__(self, message: str, session_id: str, status_code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.session_id = session_id
        self.status_code = status_code

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.session_id, self.status_code)


class ClientClosedError(TinkerError):
    """The client was closed and sends no more requests."""


class ClientPoisonedError(TinkerError, ValueError):
    """The training client cannot be used any more, because the state of its model is unknown.

    A request was sent and its outcome could not be learned, so any further request could train the wrong
    weights. ``checkpoint`` is the path of the last saved state, from which training can resume, or None.
    ``__cause__`` is the error that left the outcome unknown. It is a ``ValueError``, too, because the official
    SDK raises one if the server refuses to give a result.
    """

    def __init__(self, message: str, checkpoint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.checkpoint = checkpoint

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.checkpoint)


class ServerWarning(UserWarning):
    """A server warns of what is likely to be a mistake, as the embedded server does if it is strict."""


class ExperimentalWarning(FutureWarning):
    """The category of the official client's warnings about experimental calls. Tinkex never issues it."""


class RequestErrorCategory(str, Enum):
    """Who caused a failure. Each member equals its text: ``"user"``, ``"server"`` or ``"unknown"``."""

    Unknown = "unknown"
    Server = "server"
    User = "user"

    __str__ = str.__str__

    @classmethod
    def _missing_(cls, value: object) -> RequestErrorCategory:
        return cls.Unknown


class RequestFailedError(TinkerError, ValueError):
    """The server accepted the work, and the work failed. The client does not retry it. Also a ``ValueError``.

    ``request_id`` is the server's id of the work. ``category`` says who caused the failure, as the server
    reports it: ``"user"``, ``"server"`` or ``"unknown"``.
    """

    def __init__(self, message: str, request_id: str, category: str = "unknown") -> None:
        super().__init__(message)
        self.message = message
        self.request_id = request_id
        self.category: RequestErrorCategory = RequestErrorCategory(category)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.request_id, self.category)


class APIError(TinkerError):
    """The exchange with the server failed. ``method`` and ``url`` name the request, without any key.

    ``request`` has both too. It may be given, with a ``method`` and a ``url``, as may ``response`` below: tests and
    scripts for the official SDK make errors of the requests and responses of httpx.
    """

    sent: bool = True
    """Whether the server may have accepted the request. False only if it certainly accepted none of the tries."""
    repeated: bool = False
    """Whether the server may have accepted an earlier try of the call, so that it answered a repetition."""
    _request: object = None

    def __init__(
        self, message: str, request: object = None, *, method: str = "", url: str = "", body: object = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.method: str = method or str(getattr(request, "method", ""))
        self.url: str = url or str(getattr(request, "url", ""))
        if request is not None:
            self._request = request
        # Text can be printed and pickled whatever it says; JSON nested too deeply cannot.
        self.body: object = body if is_shallow(body) else None

    @property
    def request(self) -> Any:
        """The request: that which was given to the constructor, or one with ``method`` and ``url``."""
        from tinkex.exchanged import ErrorRequest

        return self._request or ErrorRequest(self.method, self.url)

    def __reduce__(self) -> tuple[Any, ...]:
        kind = type(self)
        if kind in _FINAL.values():
            return final, (_rebuild(kind.__mro__[1], str(self), self.__dict__),)
        return _rebuild, (kind, str(self), self.__dict__)


class APIConnectionError(APIError):
    """The server could not be reached, or the connection broke before the answer was complete."""

    def __init__(
        self,
        request: object = None,
        message: str = "Connection error.",
        *,
        method: str = "",
        url: str = "",
        sent: bool = True,
    ) -> None:
        """Make an error with the ``message``, which may also be the first argument."""
        if isinstance(request, str):
            message, request = request, None
        super().__init__(message, request, method=method, url=url)
        self.sent = sent


class APITimeoutError(APIConnectionError):
    """The server did not answer in time."""

    def __init__(self, request: object = None, message: str = "Request timed out.", **options: Any) -> None:
        """Make an error. The arguments are those of ``APIConnectionError``."""
        super().__init__(request, message, **options)


class APIResponseValidationError(APIError, ValueError):
    """The answer does not follow the protocol. Also a ``ValueError``."""

    status_code: int = 200
    _response: object = None

    def __init__(
        self,
        response: object = None,
        body: object = None,
        message: str | None = None,
        *,
        method: str = "",
        url: str = "",
    ) -> None:
        """Make an error with the ``message``, which may also be the first argument."""
        if isinstance(response, str):
            message, response = response, None
        message = message or "Data returned by API invalid for expected schema."
        super().__init__(message, _request_of(response), method=method, url=url, body=body)
        if response is not None:
            self._response = response
            self.status_code = getattr(response, "status_code", self.status_code)

    @property
    def response(self) -> Any:
        """The answer: that which was given to the constructor, or one with the ``body``."""
        from tinkex.exchanged import ErrorResponse

        return self._response or ErrorResponse(self.status_code, {}, self.body, self.request)


class APIStatusError(APIError):
    """The server answered with a 4xx or 5xx status.

    ``status_code``, ``headers`` and ``body`` (decoded JSON, or text if it is not JSON) are those of the answer.
    ``request_id`` is its ``x-request-id`` header, or None. If a future learns a final refusal while its result is
    asked for, the error is also a ``ValueError``, as with the official SDK.
    """

    status_code: int
    _response: object = None

    def __init__(
        self,
        message: str,
        response: object = None,
        body: object = None,
        *,
        status_code: int | None = None,
        headers: Mapping[str, str] | None = None,
        method: str = "",
        url: str = "",
    ) -> None:
        super().__init__(message, _request_of(response), method=method, url=url, body=body)
        if response is not None:
            self._response = response
        status = status_code or getattr(response, "status_code", getattr(type(self), "status_code", None))
        if status is None:
            raise TypeError("an APIStatusError takes a response or a status_code")
        self.status_code = status
        found: Mapping[str, str] = headers or getattr(response, "headers", None) or {}
        self.headers: dict[str, str] = {name.lower(): value for name, value in found.items()}
        self.request_id: str | None = self.headers.get("x-request-id")
        self.sent: bool = leaves_open(self.status_code, body)

    @property
    def response(self) -> Any:
        """The answer: that which was given to the constructor, or one with the status, the headers and the body."""
        from tinkex.exchanged import ErrorResponse

        return self._response or ErrorResponse(self.status_code, self.headers, self.body, self.request)


class BadRequestError(APIStatusError):
    """400: the request was malformed."""

    status_code: int = 400


class AuthenticationError(APIStatusError):
    """401: the credential is missing or was not accepted."""

    status_code: int = 401


class BillingError(APIStatusError):
    """402: the account cannot be billed."""

    status_code: int = 402


class PermissionDeniedError(APIStatusError):
    """403: the credential does not give access to this resource."""

    status_code: int = 403


class NotFoundError(APIStatusError):
    """404: the server does not have this resource."""

    status_code: int = 404


class ConflictError(APIStatusError):
    """409: the request conflicts with the present state of the resource."""

    status_code: int = 409


class UnprocessableEntityError(APIStatusError):
    """422: the request was read but its content cannot be accepted."""

    status_code: int = 422


class RateLimitError(APIStatusError):
    """429: too many requests."""

    status_code: int = 429


class InternalServerError(APIStatusError):
    """5xx: the server failed."""

    status_code: int = 500


_FINAL: dict[type[APIStatusError], type[APIStatusError]] = {}
"""For the class of a refusal, a class of the same name that is also a ``ValueError``."""


def final(refusal: APIStatusError) -> APIStatusError:
    """Return ``refusal`` as one that is also a ``ValueError``, which the official SDK raises in its place."""
    kind = type(refusal)
    if kind not in _FINAL:
        _FINAL[kind] = type(
            kind.__name__, (kind, ValueError), {"__module__": kind.__module__, "__doc__": kind.__doc__}
        )
    made: APIStatusError = _rebuild(_FINAL[kind], str(refusal), refusal.__dict__)
    return made


def leaves_open(status_code: int, body: object = None) -> bool:
    """Return whether the server may have accepted a request that was answered with this status and ``body``.

    A server that refuses a request answers with a JSON object. Any other body may come from a proxy, which does
    not know whether the server accepted the request. A 409 means that the server has accepted another request
    with the same number.
    """
    return status_code >= 500 or status_code in (408, 409) or not isinstance(body, dict)


def describe_body(body: object) -> str:
    """Return the message in an answer's body, cut to 500 characters.

    The message is the ``detail``, ``error`` or ``message`` field of the body, or else the whole body.
    """
    if isinstance(body, dict):
        for name in ("detail", "error", "message"):
            if body.get(name):
                body = body[name]
                break
    text = body if isinstance(body, str) else json.dumps(body) if body is not None else "(no body)"
    return text if len(text) <= 500 else text[:500] + "…"


_DEEPEST = 100
"""Levels of nesting that an error keeps of a body. No server has more to say."""


def is_shallow(value: object) -> bool:
    """Return whether ``value`` is nested so little that it can be printed and pickled."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            inner
            for one in level
            if isinstance(one, (dict, list))
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return True
    return False


def _request_of(response: object) -> object:
    """Return the request of a response of httpx or ``requests``, or None if it has none."""
    try:
        return getattr(response, "request", None)
    except RuntimeError:  # httpx raises it
        return None


def _rebuild(kind: type[APIError], text: str, state: dict[str, Any]) -> Any:
    error = kind.__new__(kind, text)
    error.__dict__.update(state)
    return error
