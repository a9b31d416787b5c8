"""Telling the user why work does not move."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

logger = logging.getLogger("tinkex")

OnQueueState = Callable[[str, str | None], None]
"""Told of the queue state, and the reason for it, while a result is waited for."""

LOG_EVERY = 60.0

_WORDS = {
    "paused_capacity": "the server is at capacity",
    "paused_rate_limit": "the rate limit is reached",
}


class QueueStateObserver:
    """Hears of the queue state that servers report while work waits; override to act on it."""

    _queue_state_said = float("-inf")

    def on_queue_state_change(self, queue_state: str, queue_state_reason: str | None = None) -> None:
        """Called from a polling thread with ``active``, ``paused_capacity`` or ``paused_rate_limit``.

        Logs a warning for a pause, at most once a minute.
        """
        if queue_state == "active":
            return
        now = time.monotonic()
        if now - self._queue_state_said < LOG_EVERY:
            return
        self._queue_state_said = now
        reason = queue_state_reason or _WORDS.get(queue_state, queue_state)
        logger.warning("%s: work is paused (%s)", self, reason)


def tell(on_queue_state: OnQueueState, queue_state: str, reason: str | None) -> None:
    """Call the observer, whose error is logged: it is the user's, and no reason to lose the result."""
    try:
        on_queue_state(queue_state, reason)
    except Exception:
        logger.exception("an observer of the queue state failed")
