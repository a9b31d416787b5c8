"""The transport to one server with one credential: pooled connections, retries, typed errors."""

from __future__ import annotations

import hashlib
import logging
import re
import sys
import threading
import time
import uuid
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlencode

import requests
import urllib3.exceptions
from requests.structures import CaseInsensitiveDict

from tinkex._version import __version__
from tinkex.concurrency.at_fork import renew_after_fork
from tinkex.config import Config, is_credential
from tinkex.errors import (
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    APIStatusError,
    APITimeoutError,
    ClientClosedError,
    TinkerError,
)
from tinkex.http.auth import Credential, FixedKey, RenewedCredential, command_credential
from tinkex.http.causes import BROKEN, cause_in_words, never_connected
from tinkex.http.connections import CuttableAdapter
from tinkex.http.content import TooLarge, read_content
from tinkex.http.endpoint import resolve
from tinkex.http.json_text import parse_json
from tinkex.http.refusal import status_error
from tinkex.http.retry import backoff, is_retryable, longest_backoff, retry_after
from tinkex.http.trace import trace_headers
from tinkex.http.trouble import Trouble, trouble_with
from tinkex.http.watch import Call
from tinkex.observability.redact import HIDDEN, SHORTEST, redact

T = TypeVar("T")
logger = logging.getLogger("tinkex")

JSON = "application/json"
PROTO = "application/x-protobuf"
USER_AGENT = f"tinkex/{__version__} python/{'.'.join(map(str, sys.version_info[:3]))}"
FIRST_CONTACT_TRIES = 2
"""The most tries until a server has answered once. Until then a wrong address is more likely than an outage."""


class Response(NamedTuple):
    """An HTTP answer, read completely. ``secrets`` are credentials of the request, which must not be shown."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    secrets: tuple[bytes, ...] = ()

    def __repr__(self) -> str:
        return f"Response({self.status}, {len(self.content)} bytes)"

    @property
    def is_proto(self) -> bool:
        """Whether the content is a proto message."""
        return self.headers.get("Content-Type", "").startswith(PROTO)

    def json(self) -> Any:
        """Return the content as JSON. Raises ``APIResponseValidationError`` if it is not JSON."""
        content = self.content
        for secret in self.secrets:
            if secret in content:  # some servers repeat what they were sent
                content = content.replace(secret, HIDDEN.encode())
        try:
            return parse_json(content)
        except ValueError:
            shown = redact(content[:200].decode("utf-8", "replace"))
        # Raised outside the handler, so that the parser's error, which holds the content, is not chained to it.
        raise APIResponseValidationError(f"the server's answer is not JSON: {shown!r}")


class Transport:
    """Sends requests to one server with one credential. Safe to use from many threads.

    After ``close`` every request raises ``ClientClosedError``, including those in flight and those that wait for
    their next try.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        base_url, key = resolve(config)
        self.base_url: str = base_url
        self._prefix = self.base_url + "/api/v1"
        self._credential: Credential = (
            FixedKey(key) if key else command_credential(config.credential_cmd or "")
        )
        digest = hashlib.sha256(repr((key, config.credential_cmd)).encode()).digest()
        self.identity: tuple[str, bytes] = (self.base_url, digest)
        """The server and a hash of the credential: equal for transports with the same server and credential."""
        self._key_sent = key or ""
        self._secret_headers = tuple(
            value for name, value in config.default_headers.items() if _SECRET_HEADER.search(name)
        )
        self._secret_bytes = tuple(
            value.encode("latin-1") for value in self._secret_headers if len(value) >= SHORTEST
        )
        self.trouble: Trouble = trouble_with(self.base_url)
        self._closed = threading.Event()
        self._answered = False
        self._connect()
        renew_after_fork(self)

    def __repr__(self) -> str:
        return f"Transport({self.base_url!r})"

    def request(self, method: str, path: str, body: bytes | None = None, **options: Any) -> Response:
        """Send one request as ``call`` does, and return its answer."""
        return self.call(method, path, body, read=_as_it_came, **options)

    def call(  # noqa: PLR0913  the options of a call are many, and each of them has a name
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        read: Callable[[Response], T],
        headers: Mapping[str, str] | None = None,
        content_type: str = JSON,
        query: Mapping[str, object] | None = None,
        timeout: float | None = None,
        tries: int | None = None,
        raise_for_status: bool = True,
        expected: Collection[int] = (),
        final: Collection[int] = (),
        credential: Credential | None = None,
        doubt_proxies: bool = False,
        limit: int | None = None,
    ) -> T:
        """Send one request, with retries, and return ``read(answer)``.

        ``timeout`` is how many seconds one try waits for data; it and ``tries`` are by default those of the config.
        All tries have the same idempotency key. A try fails, as if the connection had broken, if ``read`` raises
        ``APIResponseValidationError``, and if the status is below 200 or a redirect that is not in ``expected``.
        A status in ``final`` is not tried again. With ``doubt_proxies`` a refusal that is not a JSON object is tried
        again, because it may come from a proxy. ``limit`` is the largest content of the answer in bytes, by default
        ``Config.max_message_bytes``; with 0 the content is not read.

        Raises a subclass of ``APIStatusError`` for a refusal, ``APIConnectionError`` if there was no answer, and any
        error that ``read`` raises. If ``raise_for_status`` is False, ``read`` gets the refusal instead. The ``sent``
        attribute of an error says whether the server may have accepted one of the tries.
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
        timeout = timeout or self.config.read_timeout
        most_tries = tries or self.config.max_tries
        credential = credential or self._credential
        attempt, renewed, maybe_accepted = 0, False, False
        with Call(method, path, len(body or b""), self.redact) as call:
            while True:
                attempt += 1
                call.tries += 1
                key = sent["X-API-Key"] = self._key_sent = credential.get()
                failure: APIError
                try:
                    response = self._send(method, url, body, sent, timeout, limit)
                    call.answered(response.status, response.headers, len(response.content))
                    if response.status < 400:
                        if not 200 <= response.status < 300 and response.status not in expected:
                            raise _odd_status(self._without_secrets(response), url)
                        answer = read(response)
                        self._has_answered()
                        return answer
                except APIConnectionError as error:
                    call.unanswered()
                    failure = error
                except APIResponseValidationError as error:
                    failure = error
                else:
                    self._answered = True
                    if _token_is_stale(response) and not renewed and credential.renew(key):
                        renewed = True
                        attempt -= 1
                        continue
                    response = self._without_secrets(response)
                    failure = status_error(
                        response.status, response.content, response.headers, method=method, url=url
                    )
                failure.repeated = maybe_accepted
                failure.sent = maybe_accepted = maybe_accepted or failure.sent
                if attempt >= self._limit(most_tries) or not _worth_another_try(
                    failure, final, doubt_proxies
                ):
                    if isinstance(failure, APIStatusError) and not raise_for_status:
                        return read(response)
                    try:
                        raise failure
                    finally:
                        del (
                            failure
                        )  # here and below: its traceback and this frame would keep one another alive
                wait = self.asked_wait(failure.headers) if isinstance(failure, APIStatusError) else None
                if wait is None:
                    wait = backoff(attempt, self.config.retry_delay, self.config.retry_delay_max)
                call.retry(wait, None if isinstance(failure, APIStatusError) else failure)
                self.trouble.failed(failure, wait + self._longest_rest(attempt + 1, most_tries))
                del failure
                self.wait(wait)

    def asked_wait(self, headers: Mapping[str, str]) -> float | None:
        """Return the wait in seconds that a server asks for, at most ``Config.max_wait``, or None."""
        asked = retry_after(headers)
        if asked is not None and asked > self.config.max_wait:
            logger.info(
                "%s asks to wait for %.0f s; asking again in %.0f s (Config.max_wait)",
                self.base_url, asked, self.config.max_wait,
            )  # fmt: skip
            return self.config.max_wait
        return asked

    def redact(self, text: str) -> str:
        """Return ``text`` with the credential, the values of secret headers, and all that looks like a key hidden."""
        return redact(text, (self._key_sent, *self._secret_headers))

    def wait(self, seconds: float) -> None:
        """Sleep, or raise ``ClientClosedError`` as soon as the transport is closed."""
        end = time.monotonic() + seconds
        left = seconds
        while True:
            # The wait has two parts if a warning about the server falls due meanwhile.
            if self._closed.wait(min(left, self.trouble.next_warning())):
                raise ClientClosedError("the client was closed")
            self.trouble.warn_if_due()
            left = end - time.monotonic()
            if left <= 0:
                return

    def use_jwt(self) -> None:
        """Exchange the key for a short-lived JWT, from now on, and send the JWT instead."""
        key = self._credential
        self._credential = RenewedCredential(lambda: self.exchange(key))

    def exchange(self, credential: Credential) -> str:
        """Return the JWT that the server gives for ``credential`` (``POST /auth/token``)."""
        content = self.request("POST", "/auth/token", b"{}", credential=credential).content
        try:
            answer = parse_json(content)
        except ValueError:
            answer = None
        token = answer.get("jwt") if isinstance(answer, dict) else None
        if not is_credential(token):
            # Without the content, which may hold most of a credential.
            raise APIResponseValidationError(
                "the answer has no jwt of one line", method="POST", url=f"{self._prefix}/auth/token"
            )
        return token

    def close(self) -> None:
        """Let all requests fail, also those in flight, and close all connections."""
        self._closed.set()
        self._session.close()

    def _send(
        self,
        method: str,
        url: str,
        body: bytes | None,
        headers: dict[str, str],
        timeout: float,
        limit: int | None,
    ) -> Response:
        if self._closed.is_set():
            raise ClientClosedError("the client was closed")
        request = requests.PreparedRequest()
        request.method, request.url, request.body = method, url, body
        request.headers = CaseInsensitiveDict({**self._headers, **headers})
        request.hooks = _NO_HOOKS
        if body is not None or method != "GET":
            request.headers["Content-Length"] = str(len(body or b""))
        failure: TinkerError
        try:
            return self._read(self._exchange(request, timeout), headers["X-API-Key"], limit)
        except requests.exceptions.ConnectTimeout:
            failure = APITimeoutError(
                f"no connection to {self.base_url} within {self.config.connect_timeout:g} s",
                method=method, url=url, sent=False,
            )  # fmt: skip
        except (requests.exceptions.Timeout, urllib3.exceptions.ReadTimeoutError):
            failure = APITimeoutError(f"no answer from {url} within {timeout:g} s", method=method, url=url)
        except TooLarge:
            setting = "max_message_bytes" if limit is None else "max_result_bytes"
            failure = APIResponseValidationError(
                f"the answer from {url} is larger than Config.{setting} allows", method=method, url=url
            )
        except BROKEN as error:
            failure = APIConnectionError(
                f"connection to {self.base_url} failed: {self.redact(cause_in_words(error))}",
                method=method, url=url, sent=not never_connected(error),
            )  # fmt: skip
        if self._closed.is_set():
            failure = ClientClosedError("the client was closed")
        # Raised outside the handlers, so that the error behind it, whose text may hold a header, is not chained.
        try:
            raise failure
        finally:
            del failure  # its traceback and this frame would keep one another alive

    def _exchange(self, request: requests.PreparedRequest, timeout: float) -> requests.Response:
        """Send ``request``; return the answer, whose content has not been read yet."""
        timeouts = (self.config.connect_timeout, timeout)
        # Session.send handles cookies, redirects and hooks, which the protocol does not use, and costs half as much
        # again. If a tracing or mocking tool has replaced it, the replacement is called.
        if _session_send_is_replaced():
            request.prepare_cookies({})  # requests looks into them where it is answered with a redirect
            settings = {**self._settings, "stream": True, "allow_redirects": False}
            return self._session.send(request, timeout=timeouts, **settings)
        return self._adapter.send(request, timeout=timeouts, **self._settings)

    def _read(self, raw: requests.Response, key: str, limit: int | None) -> Response:
        status = raw.status_code
        if status < 200:
            # An answer still comes behind it, which the next request on this connection would take for its own.
            raw.close()
            return Response(status, raw.headers, b"")
        secrets = self._secret_bytes
        if len(key) >= SHORTEST:
            secrets += (key.encode("latin-1"),)
        refused = status >= 400
        try:
            most = self.config.max_message_bytes if refused or limit is None else limit
            content = read_content(raw, most)
        except (TooLarge, urllib3.exceptions.DecodeError):
            # A refusal without its content, and an answer whose content is not wanted, can still be used.
            if not refused and limit != 0:
                raise
            content = b""
        return Response(status, raw.headers, content, secrets)

    def _has_answered(self) -> None:
        self._answered = True
        if self.trouble.cause is not None:
            self.trouble.over()

    def _limit(self, tries: int) -> int:
        return tries if self._answered else min(tries, FIRST_CONTACT_TRIES)

    def _longest_rest(self, attempt: int, limit: int) -> float:
        """Return the longest time in seconds that the waits before the tries after number ``attempt`` can take."""
        first, longest = self.config.retry_delay, self.config.retry_delay_max
        return sum(longest_backoff(at, first, longest) for at in range(attempt, self._limit(limit)))

    def _without_secrets(self, response: Response) -> Response:
        """Return a refusal with secrets hidden, because some servers repeat the request in it."""
        # Decoding as Latin-1 turns any bytes into text, and encoding turns it back into the same bytes.
        content = self.redact(response.content.decode("latin-1")).encode("latin-1")
        return Response(response.status, self._clean(response.headers), content)

    def _clean(self, headers: Mapping[str, str]) -> CaseInsensitiveDict[str]:
        return CaseInsensitiveDict({name: self.redact(value) for name, value in headers.items()})

    def _connect(self) -> None:
        session = requests.Session()
        self._adapter = CuttableAdapter()
        session.mount("http://", self._adapter)
        session.mount("https://", self._adapter)
        self._session = session
        proxies = dict(self.config.proxies) if self.config.proxies is not None else {}
        settings = session.merge_environment_settings(
            self._prefix, proxies, stream=False, verify=None, cert=None
        )
        self._settings: dict[str, Any] = dict(settings)
        self._headers = {
            "Accept": JSON,
            "Accept-Encoding": "gzip",
            "User-Agent": USER_AGENT,
            **self.config.default_headers,
        }

    def _after_fork(self) -> None:
        closed = self._closed.is_set()
        self._closed = threading.Event()
        if closed:
            self._closed.set()
        # The parent still uses the old connections. Dropping them here sends nothing over them.
        self._connect()


_SECRET_HEADER = re.compile("auth|cookie|key|secret|token", re.IGNORECASE)
_NO_HOOKS: dict[str, list[Any]] = {"response": []}


def _as_it_came(response: Response) -> Response:
    return response


def _odd_status(response: Response, url: str) -> APIResponseValidationError:
    target = response.headers.get("Location")
    to = f" to {redact(target)}" if target else ""
    return APIResponseValidationError(
        f"{url} answered {response.status}{to}; redirects are not followed, lest they carry the key elsewhere: "
        "base_url must be the address of the server itself"
        if 300 <= response.status < 400
        else f"{url} answered {response.status}, which is no answer to a request",
        url=url,
    )


def _worth_another_try(failure: APIError, final: Collection[int], doubt_proxies: bool) -> bool:  # noqa: FBT001
    if not isinstance(failure, APIStatusError):
        return True
    if failure.status_code in final:
        return False
    return is_retryable(failure.status_code, failure.headers) or (
        doubt_proxies and not isinstance(failure.body, dict)
    )


def _session_send_is_replaced() -> bool:
    send = requests.Session.send
    return send.__module__ != "requests.sessions" or hasattr(send, "__wrapped__")


def _token_is_stale(response: Response) -> bool:
    return response.status == 401 and 'error="invalid_token"' in response.headers.get("WWW-Authenticate", "")
