"""The transport to one server with one credential: pooled connections, retries, typed errors."""

from __future__ import annotations

import hashlib
import logging
import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlencode

from requests.structures import CaseInsensitiveDict

from tinkex.concurrency.at_fork import renew_after_fork
from tinkex.config import Config, is_credential
from tinkex.errors import (
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    APIStatusError,
    ClientClosedError,
    ConfigError,
)
from tinkex.http.auth import Credential, FixedKey, RenewedCredential, command_credential
from tinkex.http.endpoint import resolve
from tinkex.http.exchange import Exchange
from tinkex.http.json_text import parse_json
from tinkex.http.redirects import not_an_answer
from tinkex.http.refusal import status_error
from tinkex.http.request import Request
from tinkex.http.response import Response
from tinkex.http.retry import backoff, is_retryable, longest_backoff, retry_after
from tinkex.http.trace import trace_headers
from tinkex.http.trouble import Trouble, trouble_with
from tinkex.http.watch import Call
from tinkex.observability.redact import SHORTEST, redact

T = TypeVar("T")
logger = logging.getLogger("tinkex")

FIRST_CONTACT_TRIES = 2
"""The most tries until a server has answered once. Until then a wrong address is more likely than an outage.

``Config.first_contact_timeout`` allows more of them.
"""


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
        self._exchange = self._new_exchange()
        renew_after_fork(self)

    def __repr__(self) -> str:
        return f"Transport({self.base_url!r})"

    def request(self, method: str, path: str, body: bytes | None = None, **options: Any) -> Response:
        """Send one request as ``call`` does, and return its answer. ``options`` are fields of ``Request``."""
        return self.call(Request(method, path, body, **options), _as_it_came)

    def call(self, request: Request, read: Callable[[Response], T]) -> T:
        """Send ``request``, with retries, and return ``read(answer)``.

        A try fails, as if the connection had broken, if ``read`` raises ``APIResponseValidationError``, and if the
        status is below 200 or a redirect that is not expected. Raises a subclass of ``APIStatusError`` for a refusal,
        ``APIConnectionError`` if there was no answer, and any error that ``read`` raises. The ``sent`` attribute of
        an error says whether the server may have accepted one of the tries.
        """
        method, url, body = request.method, self._prefix + request.path, request.body
        if request.query:
            url += "?" + urlencode({name: part for name, part in request.query.items() if part is not None})
        sent = dict(request.headers)
        if body is not None:
            sent["Content-Type"] = request.content_type
        if method != "GET":
            sent["X-Idempotency-Key"] = str(uuid.uuid4())
        sent.update(trace_headers())
        timeout = request.timeout or self.config.read_timeout
        most_tries = request.tries or self.config.max_tries
        credential = request.credential or self._credential
        attempt, renewed, maybe_accepted = 0, False, False
        first_began = time.monotonic()
        with Call(method, request.path, len(body or b""), self.redact) as call:
            while True:
                self._check_open()
                attempt += 1
                call.tries += 1
                began = time.monotonic()
                key = sent["X-API-Key"] = self._key_sent = _known(credential.get, in_doubt=maybe_accepted)
                failure: APIError
                try:
                    response = self._exchange.send(method, url, body, sent, timeout, request.limit)
                    call.answered(response.status, response.headers, len(response.content))
                    if response.status < 400:
                        if not 200 <= response.status < 300 and response.status not in request.expected:
                            raise not_an_answer(self._without_secrets(response), url)
                        answer = read(response)
                        self._has_answered()
                        if "Warning" in response.headers:
                            from tinkex.observability import server_warnings

                            server_warnings.show(response.headers["Warning"], self.base_url, self.redact)
                        return answer
                except APIConnectionError as error:
                    call.unanswered()
                    failure = error
                except APIResponseValidationError as error:
                    failure = error
                else:
                    self._answered = True
                    if (
                        _token_is_stale(response)
                        and not renewed
                        and _known(partial(credential.renew, key), in_doubt=maybe_accepted)
                    ):
                        renewed = True
                        attempt -= 1
                        continue
                    response = self._without_secrets(response)
                    failure = status_error(
                        response.status, response.content, response.headers, method=method, url=url
                    )
                    if not failure.sent:  # the server itself refuses this request, so it is well
                        self._has_answered()
                self._check_open()  # closing it is what made the request fail
                failure.repeated = maybe_accepted
                failure.sent = maybe_accepted = maybe_accepted or failure.sent
                patience = self._patience(failure, first_began)
                out_of_tries = attempt >= self._limit(most_tries) and patience <= 0
                if out_of_tries or not _worth_another_try(failure, request):
                    if isinstance(failure, APIStatusError) and not request.raise_for_status:
                        return read(response)
                    try:
                        raise failure
                    finally:
                        # Here and below: the traceback and this frame would keep one another alive.
                        del failure
                wait = self.asked_wait(failure.headers) if isinstance(failure, APIStatusError) else None
                if wait is None:
                    wait = backoff(attempt, self.config.retry_delay, self.config.retry_delay_max)
                call.retry(wait, None if isinstance(failure, APIStatusError) else failure)
                if patience > 0:
                    wait = min(wait, patience)  # the last try is made when the time has run out
                took = time.monotonic() - began
                rest = self._longest_rest(attempt + 1, most_tries, took)
                self.trouble.failed(failure, max(wait + rest, patience))
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

    def contains_key(self, text: str) -> bool:
        """Return whether ``text`` contains the credential in use."""
        return bool(self._key_sent) and self._key_sent in text

    def wait(self, seconds: float) -> None:
        """Sleep, or raise ``ClientClosedError`` as soon as the transport is closed."""
        end = time.monotonic() + seconds
        left = seconds
        while True:
            # The wait has two parts if a warning about the server falls due meanwhile.
            self._closed.wait(min(left, self.trouble.next_warning()))
            self._check_open()
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
            # The message does not show the content, which may hold most of a credential.
            raise APIResponseValidationError(
                "the answer has no jwt of one line", method="POST", url=f"{self._prefix}/auth/token"
            )
        return token

    def close(self) -> None:
        """Let all requests fail, also those in flight, and close all connections."""
        self._closed.set()
        self._exchange.close()

    def _new_exchange(self) -> Exchange:
        return Exchange(self.config, self.base_url, self.redact, self._secret_bytes)

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise ClientClosedError("the client was closed")

    def _has_answered(self) -> None:
        self._answered = True
        if self.trouble.cause is not None:
            self.trouble.over()

    def _limit(self, tries: int) -> int:
        return tries if self._answered else min(tries, FIRST_CONTACT_TRIES)

    def _patience(self, failure: APIError, since: float) -> float:
        """Return for how many seconds a server that may be only just starting is tried further."""
        if self._answered or failure.sent or not isinstance(failure, APIConnectionError):
            return 0.0
        return since + self.config.first_contact_timeout - time.monotonic()

    def _longest_rest(self, attempt: int, limit: int, took: float) -> float:
        """Return the longest time in seconds from try ``attempt`` to the last, if each takes ``took`` seconds."""
        first, longest = self.config.retry_delay, self.config.retry_delay_max
        last = self._limit(limit)
        waits = sum(longest_backoff(at, first, longest) for at in range(attempt, last))
        return waits + took * (last - attempt + 1)

    def _without_secrets(self, response: Response) -> Response:
        """Return a refusal with secrets hidden, because some servers repeat the request in it."""
        # Decoding as Latin-1 turns any bytes into text, and encoding turns it back into the same bytes.
        content = self.redact(response.content.decode("latin-1")).encode("latin-1")
        headers = CaseInsensitiveDict({name: self.redact(value) for name, value in response.headers.items()})
        return Response(response.status, headers, content)

    def _after_fork(self) -> None:
        closed = self._closed.is_set()
        self._closed = threading.Event()
        if closed:
            self._closed.set()
        # The parent still uses the old connections. Dropping them here sends nothing over them.
        self._exchange = self._new_exchange()


_SECRET_HEADER = re.compile("auth|cookie|key|secret|token", re.IGNORECASE)


def _known(ask: Callable[[], T], *, in_doubt: bool) -> T:
    """Return what ``ask`` says of a credential. If it fails ``in_doubt`` about an earlier try, its error says so."""
    try:
        return ask()
    except (APIError, ConfigError) as error:
        if not in_doubt:
            raise
        raise APIConnectionError(f"there is no credential for another try: {error}", sent=True) from error


def _as_it_came(response: Response) -> Response:
    return response


def _worth_another_try(failure: APIError, request: Request) -> bool:
    if not isinstance(failure, APIStatusError):
        return True
    if failure.status_code in request.final:
        return False
    doubtful = request.doubt_proxies and not isinstance(failure.body, dict)
    return doubtful or is_retryable(failure.status_code, failure.headers)


def _token_is_stale(response: Response) -> bool:
    return response.status == 401 and 'error="invalid_token"' in response.headers.get("WWW-Authenticate", "")
