"""Tells the server what happened to a session: that it began and ended, and errors that ended a program."""

from __future__ import annotations

import collections
import itertools
import json
import logging
import threading
import time
import traceback
import uuid
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from tinkex.api.telemetry import send_telemetry
from tinkex.concurrency.at_fork import renew_after_fork
from tinkex.errors import APIStatusError, ClientClosedError
from tinkex.http.retry import is_retryable
from tinkex.http.transport import Transport
from tinkex.types.names import Severity

logger = logging.getLogger("tinkex")

BATCH = 100
FLUSH_SECONDS = 10.0
QUEUE_LIMIT = 10_000
SEND_TIMEOUT = 5.0
LONGEST = {"error_message": 4_000, "traceback": 40_000}
"""How many characters, from the end, are kept of a text."""


class Telemetry:
    """The events of one session, sent in batches by a thread of its own.

    The thread starts with the first event, sends what there is every ten seconds or a hundred events, and
    ends when there is nothing more. Nothing here waits for it or raises: what the server does not take
    at once is lost, and so are events beyond 10,000. A server that refuses telemetry gets no more of it.
    All text passes through the redaction of credentials.
    """

    def __init__(self, transport: Transport, session_id: str) -> None:
        self.session_id = session_id
        self._transport = transport
        self._began = time.monotonic()
        self._numbers = itertools.count()
        self._stopped = False
        self._reset()
        self._thread: threading.Thread | None = None
        renew_after_fork(self)

    def log(
        self, event_name: str, event_data: Mapping[str, object] | None = None, severity: Severity = "INFO"
    ) -> bool:
        """Report an event of one's own, with data that JSON can hold; False if it was dropped."""
        return self._add("GENERIC_EVENT", severity, event_name=event_name, event_data=event_data or {})

    def log_exception(self, exception: BaseException, severity: Severity = "ERROR") -> bool:
        """Report an exception with its traceback, without the values of variables; False if it was dropped."""
        try:
            message = str(exception)
            stack = "".join(traceback.format_exception(type(exception), exception, exception.__traceback__))
        except Exception:  # an exception may fail to describe itself
            message, stack = "", ""
        return self._add(
            "UNHANDLED_EXCEPTION",
            severity,
            error_type=type(exception).__name__,
            error_message=message,
            traceback=stack,
        )

    def session_started(self) -> None:
        """Report that the session has started."""
        self._add("SESSION_START", "INFO")

    def session_ended(self) -> None:
        """Report that the session is over, and how long it was."""
        self._add("SESSION_END", "INFO", duration=f"PT{time.monotonic() - self._began:.3f}S")

    def stop(self) -> None:
        """Take no more events, and send those that are there now. Does not wait; see ``join``."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def join(self, seconds: float) -> None:
        """Wait for the last batch after ``stop``, for at most ``seconds``."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(seconds)

    def _add(self, event: str, severity: Severity, **fields: Any) -> bool:
        try:
            # Through JSON at once: it is a copy that nobody changes, and an odd value harms no batch.
            plain = json.loads(json.dumps(fields, default=str), parse_constant=str)
            cleaned = {name: self._cleaned(value, LONGEST.get(name)) for name, value in plain.items()}
        except Exception:
            return False
        entry = {
            "event": event,
            "event_id": str(uuid.uuid4()),
            "severity": severity,
            "timestamp": datetime.now(timezone.utc).isoformat(),
            **cleaned,
        }
        with self._changed:
            if self._stopped or len(self._queue) >= QUEUE_LIMIT:
                return False
            entry["event_session_index"] = next(self._numbers)
            self._queue.append(entry)
            if self._thread is None:
                self._start()
            elif len(self._queue) >= BATCH:
                self._changed.notify_all()
        return True

    def _cleaned(self, value: Any, longest: int | None = None) -> Any:
        """``value`` with all credentials in it hidden, and then shortened."""
        if isinstance(value, str):
            hidden = self._transport.redact(value)
            return hidden if longest is None else hidden[-longest:]
        if isinstance(value, list):
            return [self._cleaned(item) for item in value]
        if isinstance(value, dict):
            return {self._cleaned(name): self._cleaned(item) for name, item in value.items()}
        return value

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="tinkex-telemetry", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return  # no thread to be had now; the next event tries again
        self._thread = thread

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or len(self._queue) >= BATCH, FLUSH_SECONDS)
                batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
                if not batch:
                    self._thread = None
                    return
            self._send(batch)

    def _send(self, batch: list[dict[str, Any]]) -> None:
        try:
            send_telemetry(self._transport, self.session_id, batch, SEND_TIMEOUT)
        except Exception as error:
            logger.debug("%d telemetry events of session %s are lost: %s", len(batch), self.session_id, error)
            if _is_final(error):
                with self._changed:
                    self._stopped = True
                    self._queue.clear()

    def _reset(self) -> None:
        self._changed = threading.Condition()
        self._queue: collections.deque[dict[str, Any]] = collections.deque()

    def _after_fork(self) -> None:
        """What the parent has queued is the parent's to send."""
        self._reset()
        self._thread = None


def _is_final(error: Exception) -> bool:
    """Whether there is no use in sending more."""
    if isinstance(error, APIStatusError):
        return not is_retryable(error.status_code, error.headers)
    return isinstance(error, ClientClosedError)
