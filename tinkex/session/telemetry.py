"""Reports the events of a session to the server: its start, its end, and uncaught errors."""

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
"""Events in one request."""
FLUSH_SECONDS = 10.0
QUEUE_LIMIT = 10_000
"""Events that may wait to be sent; more are dropped."""
SEND_TIMEOUT = 5.0
MAX_CHARACTERS = {"error_message": 4_000, "traceback": 40_000}
"""A longer text keeps this many characters, from its end."""


class Telemetry:
    """Sends the events of one session in batches, on a thread of its own.

    The thread starts with the first event, sends a batch every ten seconds or every hundred events, and
    ends when no event is left. Reporting an event never blocks on the network and never raises. A batch that
    the server does not accept is lost, and so are events while 10,000 of them wait. After a final refusal
    nothing more is sent. Credentials are removed from all text.
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
        """Report an event of the caller's own; return False if it was dropped.

        ``event_data`` is sent as JSON; a value that JSON cannot hold is sent as its ``str``.
        """
        return self._add("GENERIC_EVENT", severity, event_name=event_name, event_data=event_data or {})

    def log_exception(self, exception: BaseException, severity: Severity = "ERROR") -> bool:
        """Report an exception with its traceback; return False if it was dropped.

        The traceback does not contain the values of variables.
        """
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
        """Report that the session has ended, and how long it lasted."""
        self._add("SESSION_END", "INFO", duration=f"PT{time.monotonic() - self._began:.3f}S")

    def stop(self) -> None:
        """Accept no more events and send those that wait, without blocking; ``join`` waits for them."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def join(self, seconds: float) -> None:
        """Wait, after ``stop``, until the last batch was sent, for at most ``seconds``."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(seconds)

    def _add(self, event: str, severity: Severity, **fields: Any) -> bool:
        try:
            # The round trip through JSON makes a copy that the caller cannot change any more, and rejects an
            # unusual value here, where it spoils this event alone and not a whole batch.
            plain = json.loads(json.dumps(fields, default=str), parse_constant=str)
            cleaned = {name: self._cleaned(value, MAX_CHARACTERS.get(name)) for name, value in plain.items()}
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

    def _cleaned(self, value: Any, most: int | None = None) -> Any:
        """Return ``value`` with its credentials hidden, and text cut to its last ``most`` characters."""
        if isinstance(value, str):
            hidden = self._transport.redact(value)
            return hidden if most is None else hidden[-most:]
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
            return  # the system allows no more threads now; the next event tries again
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
        """Start with an empty queue: the parent sends the events that it has queued."""
        self._reset()
        self._thread = None


def _is_final(error: Exception) -> bool:
    """Return whether no later batch can be expected to succeed."""
    if isinstance(error, APIStatusError):
        return not is_retryable(error.status_code, error.headers)
    return isinstance(error, ClientClosedError)
