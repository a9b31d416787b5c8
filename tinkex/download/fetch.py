"""Downloads one file by its signed URL. Downloads are resumed and checked, and no credential is sent."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import IO, Any, Protocol

import requests
from requests.adapters import HTTPAdapter

from tinkex.config import Config
from tinkex.download.digests import Digest, digest_of
from tinkex.errors import APIConnectionError, APIResponseValidationError, APIStatusError
from tinkex.http.causes import BROKEN
from tinkex.http.connections import CuttableAdapter
from tinkex.http.refusal import status_error
from tinkex.http.retry import backoff, is_retryable, retry_after

CHUNK = 128 << 10
"""The bytes that are read at a time. A connection that breaks loses at most these."""
_ERROR_BYTES = 64 << 10
"""The most bytes that are read of an error message."""
_LINK_EXPIRED = frozenset({400, 401, 403, 410})
"""The statuses with which storage services answer a signed URL that does not work any more."""
_RENEWALS = 2
"""How often a refused URL is replaced by a new one, before the refusal is raised."""
_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")
_LENGTH = re.compile(r"[0-9]{1,18}")
"""The form of ``Content-Length``. No file is longer, and ``int`` refuses thousands of digits."""


class Link(Protocol):
    """The signed URL of a file, which works for a limited time and can be renewed."""

    def url(self) -> str:
        """Return the present URL."""

    def renew(self, refused: str) -> None:
        """Get a new URL, unless the present URL already differs from ``refused``."""


class Watch(Protocol):
    """An observer of a download. It can end the download by raising in any of its methods."""

    def check(self) -> None:
        """Raise if the download is to end."""

    def wait(self, seconds: float) -> None:
        """Sleep for ``seconds``, or raise as ``check`` does."""

    def size(self, total: int) -> None:
        """Record that the file has ``total`` bytes."""

    def moved(self, count: int) -> None:
        """Record that ``count`` more bytes have arrived; it is negative when the download starts over."""


class _Broken(Exception):
    """The connection failed, or the answer ended early. ``wait`` is the pause the server asks for, in seconds."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class _PlainSession(requests.Session):
    """A session that never sends a credential or a cookie, not even one from ``.netrc`` or the URL.

    This holds after a redirect, too. The proxies and certificate bundles of the environment are used as
    usual.
    """

    def __init__(self) -> None:
        super().__init__()
        self.auth = lambda request: request
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        for name in ("Authorization", "Cookie"):
            prepared_request.headers.pop(name, None)


class _Adapter(CuttableAdapter):
    """An adapter whose connections can be cut by ``close``, and which serves any number of hosts.

    ``CuttableAdapter`` serves one server only. Here the methods that assume this are restored to those of
    ``requests``.
    """

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        return HTTPAdapter.get_connection_with_tls_context(self, *args, **kwargs)

    def build_response(self, req: Any, resp: Any) -> requests.Response:
        return HTTPAdapter.build_response(self, req, resp)


class Fetcher:
    """Fetches files over connections of its own. Safe to use from many threads."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._session = _PlainSession()
        adapter = _Adapter()
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def close(self) -> None:
        """Close all connections. Downloads under way fail with a connection error."""
        self._session.close()

    def fetch(self, link: Link, target: Path, watch: Watch) -> None:
        """Write the file at ``link`` to ``target``.

        After a break the download is resumed where it stopped, if the server supports that, and otherwise
        started over. Raises ``APIConnectionError`` if ``Config.max_tries`` tries in a row bring no new data,
        ``APIStatusError`` if the server refuses, ``APIResponseValidationError`` if the size or the digest does
        not match, ``OSError`` if the file cannot be written, and any error that ``watch`` raises.
        """
        with target.open("wb") as file:
            state = _State(file, watch)
            tries, renewals, furthest = 0, 0, 0
            while True:
                watch.check()
                url = link.url()
                try:
                    self._go_on(url, state)
                    state.check_digest()
                    return
                except _Broken as broken:
                    reason, wait = str(broken), broken.wait
                except APIStatusError as refusal:
                    renewals += 1
                    if refusal.status_code not in _LINK_EXPIRED or renewals > _RENEWALS:
                        raise
                    link.renew(url)
                    continue
                if state.offset > furthest:
                    tries, renewals, furthest = 0, 0, state.offset
                tries += 1
                if tries >= self._config.max_tries:
                    # Raised outside the handler: the errors behind it contain the URL with its signature.
                    raise APIConnectionError(
                        f"a download broke off at byte {state.offset}: {reason}",
                        method="GET",
                        url=_shown(url),
                    )
                if wait is None:
                    wait = backoff(tries, self._config.retry_delay, self._config.retry_delay_max)
                watch.wait(min(wait, self._config.max_wait))

    def _go_on(self, url: str, state: _State) -> None:
        headers = {"Accept-Encoding": "identity"}
        if state.offset:
            headers["Range"] = f"bytes={state.offset}-"
            if state.version:
                headers["If-Range"] = state.version
        with self._open(url, headers) as response:
            status = response.status_code
            if status == 416:
                state.start_over()
                raise _Broken("the server has less of the file than before")
            if status >= 400:
                content = next(_chunks(response, _ERROR_BYTES), b"")
                error = status_error(status, content, response.headers, method="GET", url=_shown(url))
                if is_retryable(status, response.headers):
                    raise _Broken(str(error), retry_after(response.headers))
                raise error
            if status not in (200, 206):
                raise _Broken(f"the server answered {status}, which brings no file")
            state.begin(response)
            for chunk in _chunks(response, CHUNK):
                state.write(chunk)
        if state.total is not None and state.offset < state.total:
            raise _Broken("the answer ended early")
        if state.total is not None and state.offset > state.total:
            raise APIResponseValidationError("a download is larger than announced")

    def _open(self, url: str, headers: dict[str, str]) -> requests.Response:
        config = self._config
        try:
            return self._session.get(
                url,
                headers=headers,
                stream=True,
                timeout=(config.connect_timeout, config.read_timeout),
                proxies=dict(config.proxies) if config.proxies is not None else None,
            )
        except (requests.TooManyRedirects, ValueError):  # a malformed URL raises ValueError
            reason = None
        except BROKEN as error:
            reason = type(error).__name__
        # Raised outside the handlers: the text of the first error contains the URL with its signature.
        if reason is None:
            raise APIConnectionError("a download link leads nowhere", method="GET", url=_shown(url))
        raise _Broken(reason)


class _State:
    """The progress of one file, over all tries."""

    def __init__(self, file: IO[bytes], watch: Watch) -> None:
        self._file = file
        self._watch = watch
        self._digest: Digest | None = None
        self.offset = 0
        self.total: int | None = None
        self.version: str | None = None

    def begin(self, response: requests.Response) -> None:
        """Prepare for the body of an answer, which contains the whole file or the rest of it."""
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise APIResponseValidationError("a download came in an encoding that was not asked for")
        if response.status_code == 206:
            found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
            total = int(found[3]) if found is not None and found[3] != "*" else self.total
            if found is None or int(found[1]) != self.offset or self.total not in (None, total):
                self.start_over()
                raise _Broken("the server sent another part of the file than was asked for")
            if total is not None:
                self._set_total(total)
            return
        self.start_over()
        self.version = _version(response)
        self._digest = digest_of(response.headers)
        length = response.headers.get("Content-Length")
        if length is not None:
            if not _LENGTH.fullmatch(length):  # http.client reads +20 as 20
                raise _Broken("the server announced the length of the file in no known form")
            self._set_total(int(length))

    def write(self, chunk: bytes) -> None:
        self._watch.check()
        self._file.write(chunk)
        if self._digest is not None:
            self._digest.update(chunk)
        self.offset += len(chunk)
        self._watch.moved(len(chunk))

    def start_over(self) -> None:
        """Discard the data so far, because the server cannot resume there."""
        self._watch.moved(-self.offset)
        self._file.seek(0)
        self._file.truncate()
        self.offset, self.total, self._digest, self.version = 0, None, None, None

    def check_digest(self) -> None:
        if self._digest is not None and not self._digest.matches():
            raise APIResponseValidationError(f"a download does not match its {self._digest.name} digest")

    def _set_total(self, total: int) -> None:
        if self.total is None:
            self._watch.size(total)
        self.total = total


def _chunks(response: requests.Response, size: int) -> Iterator[bytes]:
    raw: Any = response.raw
    while True:
        try:
            chunk: bytes = raw.read(size, decode_content=False)
        except BROKEN as error:
            raise _Broken(type(error).__name__) from None
        if not chunk:
            return
        yield chunk


def _version(response: requests.Response) -> str | None:
    """Return the strong ETag or the date that identifies this version of the file, or None."""
    etag = response.headers.get("ETag", "")
    version = etag if etag.startswith('"') else response.headers.get("Last-Modified")
    return version if version and version.isprintable() else None  # other text cannot be sent back


def _shown(url: str) -> str:
    """Return a URL without its signature."""
    return url.split("?")[0]
