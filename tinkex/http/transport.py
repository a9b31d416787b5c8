"""The way to one server with one credential: pooled connections, retries, typed errors."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
import uuid
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

import requests
import urllib3.exceptions
from requests.structures import CaseInsensitiveDict

from tinkex._version import __version__
from tinkex.concurrency.at_fork import renew_after_fork
from tinkex.config import Config
from tinkex.errors import (
    APIConnectionError,
    APIResponseValidationError,
    APITimeoutError,
    ClientClosedError,
    leaves_open,
    status_error,
)
from tinkex.http.auth import Credential, FixedKey, RenewedCredential, command_credential
from tinkex.http.causes import cause_in_words, never_connected
from tinkex.http.connections import CuttableAdapter
from tinkex.http.endpoint import resolve
from tinkex.http.retry import backoff, is_retryable, retry_after
from tinkex.http.trace import trace_headers
from tinkex.http.watch import Call
from tinkex.observability.redact import redact

JSON = "application/json"
PROTO = "application/x-protobuf"
USER_AGENT = f"tinkex/{__version__} python/{'.'.join(map(str, sys.version_info[:3]))}"
FIRST_CONTACT_TRIES = 2
"""While a server has never answered, a failure to connect is more likely a wrong address than an outage."""


class Response(NamedTuple):
    """An HTTP answer, read whole."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def is_proto(self) -> bool:
        """Whether the content is a proto message."""
        return self.headers.get("Content-Type", "").startswith(PROTO)

    def json(self) -> Any:
        """The content as JSON; raises ``APIResponseValidationError`` if it is not."""
        try:
            return json.loads(self.content)
        except ValueError:
            shown = redact(self.content[:200].decode("utf-8", "replace"))
            raise APIResponseValidationError(f"the server's answer is not JSON: {shown!r}") from None


class Transport:
    """Sends requests to one server with one credential. Safe to use from many threads.

    After ``close`` every request, also one in flight or waiting for its next try, raises
    ``ClientClosedError``.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.base_url, key = resolve(config)
        self._prefix = self.base_url + "/api/v1"
        self._credential: Credential = (
            FixedKey(key) if key else command_credential(config.credential_cmd or "")
        )
        self.identity = (self.base_url, hashlib.sha256(repr((key, config.credential_cmd)).encode()).digest())
        """Equal for transports to the same server with the same credential; does not give the credential away."""
        self._key_sent = key or ""
        self._secret_headers = tuple(
            value for name, value in config.default_headers.items() if _SECRET_HEADER.search(name)
        )
        self._closed = threading.Event()
        self._answered = False
        self._connect()
        renew_after_fork(self)

    def __repr__(self) -> str:
        return f"Transport({self.base_url!r})"

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        content_type: str = JSON,
        query: Mapping[str, object] | None = None,
        timeout: float | None = None,
        tries: int | None = None,
        raise_for_status: bool = True,
        final: Collection[int] = (),
        credential: Credential | None = None,
    ) -> Response:
        """Send one request, trying again what may succeed later, and return its answer.

        ``timeout`` (seconds, of one try's wait for data) and ``tries`` default to the config's; a status in
        ``final`` is not tried again. All tries share one idempotency key. Raises a child of
        ``APIStatusError`` for a refusal (unless ``raise_for_status`` is False) and ``APIConnectionError`` if
        there was no answer.
        """
        url = self._prefix + path
        if query:
            url += "?" + urlencode({name: value for name, value in query.items() if value is not None})
        sent = dict(headers or {})
        if body is not None:
            sent["Content-Type"] = content_type
        if method != "GET":
            sent["X-Idempotency-Key"] = str(uuid.uuid4())
        sent.update(trace_headers())
        with Call(method, path, len(body or b"")) as call:
            response, maybe_accepted = self._answer(
                call, url, body, sent, timeout or self.config.read_timeout, tries or self.config.max_tries,
                final, credential or self._credential,
            )  # fmt: skip
            if response.status >= 400 and raise_for_status:
                raise status_error(
                    response.status,
                    response.content,
                    response.headers,
                    maybe_accepted,
                    method=method,
                    url=url,
                )
            return response

    def _answer(
        self,
        call: Call,
        url: str,
        body: bytes | None,
        sent: dict[str, str],
        timeout: float,
        limit: int,
        final: Collection[int],
        credential: Credential,
    ) -> tuple[Response, bool]:
        """The first answer that no further try can be hoped to better; whether a try before may have been accepted."""
        attempt, renewed, maybe_accepted = 0, False, False
        while True:
            attempt += 1
            call.tries += 1
            key = sent["X-API-Key"] = self._key_sent = credential.get()
            failure, wait = None, None
            try:
                response = self._send(call.method, url, body, sent, timeout)
            except APIConnectionError as error:
                call.unanswered()
                maybe_accepted |= error.sent
                error.sent = maybe_accepted
                if not self._answered:
                    limit = min(limit, FIRST_CONTACT_TRIES)
                if attempt >= limit:
                    raise
                failure = error
            else:
                call.answered(response.status, response.headers, len(response.content))
                self._answered = True
                if response.status < 400:
                    return response, maybe_accepted
                if _token_is_stale(response) and not renewed and credential.renew(key):
                    renewed = True
                    attempt -= 1
                    continue
                if (
                    attempt >= limit
                    or response.status in final
                    or not is_retryable(response.status, response.headers)
                ):
                    return self._without_secrets(response), maybe_accepted
                maybe_accepted |= leaves_open(response.status)
                wait = retry_after(response.headers)
            if wait is None:
                wait = backoff(attempt, self.config.retry_delay, self.config.retry_delay_max)
            call.retry(wait, failure)
            self.wait(wait)

    def redact(self, text: str) -> str:
        """``text`` with the credential in use, secret headers and all that looks like a key hidden."""
        return redact(text, (self._key_sent, *self._secret_headers))

    def wait(self, seconds: float) -> None:
        """Sleep, or raise ``ClientClosedError`` as soon as the transport is closed."""
        if self._closed.wait(seconds):
            raise ClientClosedError("the client was closed")

    def use_jwt(self) -> None:
        """From now on exchange the key for a short-lived JWT and send that (``POST /auth/token``)."""
        key = self._credential

        def exchange() -> str:
            return str(self.request("POST", "/auth/token", b"{}", credential=key).json()["jwt"])

        self._credential = RenewedCredential(exchange)

    def close(self) -> None:
        """End everything and let go of all connections."""
        self._closed.set()
        self._session.close()

    def _send(
        self, method: str, url: str, body: bytes | None, headers: dict[str, str], timeout: float
    ) -> Response:
        if self._closed.is_set():
            raise ClientClosedError("the client was closed")
        request = requests.PreparedRequest()
        request.method, request.url, request.body = method, url, body
        request.headers = CaseInsensitiveDict({**self._headers, **headers})
        request.hooks = _NO_HOOKS
        if body is not None or method != "GET":
            request.headers["Content-Length"] = str(len(body or b""))
        # Session.send would add cookies, redirects and hooks, none of which the protocol has, for half as
        # much again. Tracing and mocking tools put their own in its place; then they get their call.
        instrumented = _session_send_is_replaced()
        send = self._session.send if instrumented else self._adapter.send
        try:
            raw = send(request, timeout=(self.config.connect_timeout, timeout), **self._settings)
            # The wrapped path has read the content; else it is read here at once, not in pieces of 10 kB.
            content = raw.content if instrumented else raw.raw.read(decode_content=True)
            return Response(raw.status_code, raw.headers, content or b"")
        except requests.exceptions.ConnectTimeout:
            raise APITimeoutError(
                f"no connection to {self.base_url} within {self.config.connect_timeout:g} s",
                method=method, url=url, sent=False,
            ) from None  # fmt: skip
        except (requests.exceptions.Timeout, urllib3.exceptions.ReadTimeoutError):
            self._raise_if_closed()
            raise APITimeoutError(
                f"no answer from {url} within {timeout:g} s", method=method, url=url
            ) from None
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            self._raise_if_closed()
            raise APIConnectionError(
                f"connection to {self.base_url} failed: {cause_in_words(error)}",
                method=method, url=url, sent=not never_connected(error),
            ) from None  # fmt: skip

    def _without_secrets(self, response: Response) -> Response:
        """A refusal as it may be shown: some servers repeat in it what they were sent."""
        headers = {name: self.redact(value) for name, value in response.headers.items()}
        # As Latin-1 any bytes are text and back again.
        content = self.redact(response.content.decode("latin-1")).encode("latin-1")
        return Response(response.status, CaseInsensitiveDict(headers), content)

    def _raise_if_closed(self) -> None:
        if self._closed.is_set():
            raise ClientClosedError("the client was closed") from None

    def _connect(self) -> None:
        session = requests.Session()
        self._adapter = CuttableAdapter()
        session.mount("http://", self._adapter)
        session.mount("https://", self._adapter)
        self._session = session
        proxies = dict(self.config.proxies) if self.config.proxies is not None else {}
        settings = session.merge_environment_settings(self._prefix, proxies, False, None, None)
        self._settings: dict[str, Any] = dict(settings)
        self._headers = {
            "Accept": JSON,
            "Accept-Encoding": "gzip, deflate",
            "User-Agent": USER_AGENT,
            **self.config.default_headers,
        }

    def _after_fork(self) -> None:
        closed = self._closed.is_set()
        self._closed = threading.Event()
        if closed:
            self._closed.set()
        # The parent still talks over the old connections; dropping them here sends nothing.
        self._connect()


_SECRET_HEADER = re.compile("auth|cookie|key|secret|token", re.IGNORECASE)
_NO_HOOKS: dict[str, list[Any]] = {"response": []}


def _session_send_is_replaced() -> bool:
    send = requests.Session.send
    return send.__module__ != "requests.sessions" or hasattr(send, "__wrapped__")


def _token_is_stale(response: Response) -> bool:
    return response.status == 401 and 'error="invalid_token"' in response.headers.get("WWW-Authenticate", "")
