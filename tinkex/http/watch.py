"""Reports each call to the metrics, the hooks of the user, and the log at level DEBUG."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from time import perf_counter
from types import TracebackType

from tinkex.errors import APIError
from tinkex.http.counters import counters
from tinkex.observability import hooks
from tinkex.observability.redact import redact

logger = logging.getLogger("tinkex")


class Call:
    """The report of one call, which begins and ends with a ``with`` block."""

    __slots__ = ("_began", "_redact", "bytes_in", "method", "path", "request_id", "size", "status", "tries")

    def __init__(self, method: str, path: str, size: int, redact: Callable[[str], str] = redact) -> None:
        self.method: str = method
        self.path: str = path
        self.size: int = size
        self._redact = redact
        self.tries: int = 0
        self.status: int | None = None
        self.bytes_in: int = 0
        self.request_id: str | None = None

    def __enter__(self) -> Call:
        if hooks.requests.functions:
            hooks.requests.tell(hooks.RequestEvent, self.method, self.path, self.size)
        self._began = perf_counter()
        counters.in_flight.add(self)
        return self

    def answered(self, status: int, headers: Mapping[str, str], size: int) -> None:
        """Record that a try was answered."""
        self.status = status
        self.bytes_in += size
        self.request_id = headers.get("x-request-id")

    def unanswered(self) -> None:
        """Record that a try got no answer."""
        self.status = self.request_id = None

    def retry(self, wait: float, error: Exception | None) -> None:
        """Report that another try follows in ``wait`` seconds."""
        counters.retry()
        if hooks.retries.functions:
            hooks.retries.tell(hooks.RetryEvent, self.method, self.path, self.tries, wait, self.status, error)
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug(
                "%s %s: try %d: %s; again in %.2f s",
                self.method, self.path, self.tries, self.status or error, wait,
            )  # fmt: skip

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        seconds = perf_counter() - self._began
        failed = False if kind is None else True if issubclass(kind, APIError) else None
        if self.status is not None and self.status >= 400:
            failed = True
        sent = self.size * self.tries
        counters.end(self, self.path, seconds, failed=failed, bytes_out=sent, bytes_in=self.bytes_in)
        if hooks.responses.functions:
            hooks.responses.tell(
                hooks.ResponseEvent,
                self.method, self.path, self.status, seconds, self.tries, sent, self.bytes_in,
                self._shown_id(), error,
            )  # fmt: skip
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug(
                "%s %s: %s in %.1f ms, %s, %d bytes out, %d in, request id %s",
                self.method, self.path, self.status or type(error).__name__, seconds * 1000,
                "1 try" if self.tries == 1 else f"{self.tries} tries", sent, self.bytes_in,
                self._shown_id() or "-",
            )  # fmt: skip

    def _shown_id(self) -> str | None:
        # Some servers repeat in the request id what they were sent.
        return None if self.request_id is None else self._redact(self.request_id)
