"""One exchange over HTTP: a request is sent, and its answer is read."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import requests
import urllib3.exceptions
from requests.structures import CaseInsensitiveDict

from tinkex._version import __version__
from tinkex.config import Config
from tinkex.errors import APIConnectionError, APIError, APIResponseValidationError, APITimeoutError
from tinkex.http.bounded_read import TooLarge, read_content
from tinkex.http.causes import BROKEN, cause_in_words, never_connected
from tinkex.http.connections import CuttableAdapter
from tinkex.http.response import JSON, Response
from tinkex.observability.redact import SHORTEST

USER_AGENT = f"tinkex/{__version__} python/{'.'.join(map(str, sys.version_info[:3]))}"


class Exchange:
    """Sends requests to one server over pooled connections, once each. Safe to use from many threads.

    ``redact`` hides secrets in the text of errors; ``secrets`` are kept with every answer, for the same purpose.
    """

    def __init__(
        self, config: Config, base_url: str, redact: Callable[[str], str], secrets: tuple[bytes, ...]
    ) -> None:
        self._config = config
        self._base_url = base_url
        self._redact = redact
        self._secrets = secrets
        session = requests.Session()
        self._adapter = CuttableAdapter()
        session.mount("http://", self._adapter)
        session.mount("https://", self._adapter)
        self._session = session
        proxies = dict(self._config.proxies) if self._config.proxies is not None else {}
        settings = session.merge_environment_settings(base_url, proxies, stream=False, verify=None, cert=None)
        self._settings: dict[str, Any] = dict(settings)
        self._headers = {
            "Accept": JSON,
            "Accept-Encoding": "gzip",
            "User-Agent": USER_AGENT,
            **self._config.default_headers,
        }

    def send(
        self,
        method: str,
        url: str,
        body: bytes | None,
        headers: dict[str, str],
        timeout: float,
        limit: int | None,
    ) -> Response:
        """Send one request and read its answer.

        ``timeout`` is how many seconds the server may be silent, ``limit`` the largest content in bytes, by default
        ``Config.max_message_bytes``; with 0 the content is not read. Raises ``APIConnectionError``, and
        ``APIResponseValidationError`` for an answer that is too large.
        """
        request = requests.PreparedRequest()
        request.method, request.url, request.body = method, url, body
        request.headers = CaseInsensitiveDict({**self._headers, **headers})
        request.hooks = _NO_HOOKS
        if body is not None or method != "GET":
            request.headers["Content-Length"] = str(len(body or b""))
        failure: APIError
        try:
            return self._read(self._send(request, timeout), headers["X-API-Key"], limit)
        except requests.exceptions.ConnectTimeout:
            failure = APITimeoutError(
                f"no connection to {self._base_url} within {self._config.connect_timeout:g} s",
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
                f"connection to {self._base_url} failed: {self._redact(cause_in_words(error))}",
                method=method, url=url, sent=not never_connected(error),
            )  # fmt: skip
        # Raised outside the handlers, so that the error behind it, whose text may hold a header, is not chained.
        try:
            raise failure
        finally:
            del failure  # its traceback and this frame would keep one another alive

    def _send(self, request: requests.PreparedRequest, timeout: float) -> requests.Response:
        """Send ``request``; return the answer, whose content has not been read yet."""
        timeouts = (self._config.connect_timeout, timeout)
        # Session.send handles cookies, redirects and hooks, which the protocol does not use, and costs half as much
        # again. If a tracing or mocking tool has replaced it, the replacement is called.
        if _session_send_is_replaced():
            request.prepare_cookies({})  # requests reads the cookies if the answer is a redirect
            settings = {**self._settings, "stream": True, "allow_redirects": False}
            return self._session.send(request, timeout=timeouts, **settings)
        return self._adapter.send(request, timeout=timeouts, **self._settings)

    def _read(self, raw: requests.Response, key: str, limit: int | None) -> Response:
        status = raw.status_code
        if status < 200:
            # The real answer still follows. The next request on this connection would take it for its own.
            raw.close()
            return Response(status, raw.headers, b"")
        secrets = self._secrets
        if len(key) >= SHORTEST:
            secrets += (key.encode("latin-1"),)
        refused = status >= 400
        try:
            most = self._config.max_message_bytes if refused or limit is None else limit
            content = read_content(raw, most)
        except (TooLarge, urllib3.exceptions.DecodeError):
            # A refusal without its content, and an answer whose content is not wanted, can still be used.
            if not refused and limit != 0:
                raise
            content = b""
        return Response(status, raw.headers, content, secrets)

    def close(self) -> None:
        """Let all requests in flight fail, and close all connections."""
        self._session.close()


_NO_HOOKS: dict[str, list[Any]] = {"response": []}


def _session_send_is_replaced() -> bool:
    send = requests.Session.send
    return send.__module__ != "requests.sessions" or hasattr(send, "__wrapped__")
