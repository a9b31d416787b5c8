"""Observers of the queue state, by which a server says why work does not proceed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

logger = logging.getLogger("tinkex")

OnQueueState = Callable[[str, str | None], None]
"""A function that is called with the queue state, and its reason, while the client waits for a result."""

LOG_EVERY = 60.0

_WORDS = {
    "paused_capacity": "the server is at capacity",
    "paused_rate_limit": "the rate limit is reached",
}


class QueueStateObserver:
    """Receives the queue state that servers report while work waits. Subclasses may act on it."""

    _queue_state_said = float("-inf")

    def on_queue_state_change(self, queue_state: str, queue_state_reason: str | None = None) -> None:
        """Log a warning if the work is paused, at most once a minute.

        The method is called on a polling thread. ``queue_state`` is ``active``, ``paused_capacity`` or
        ``paused_rate_limit``.
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
    """Call the observer. An error in it is logged and not raised, so that the result is not lost."""
    try:
        on_queue_state(queue_state, reason)
    except Exception:
        logger.exception("an observer of the queue state failed")
