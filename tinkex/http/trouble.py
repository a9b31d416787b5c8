"""Logs warnings while a server does not answer as it should."""

from __future__ import annotations

import logging
import math
import threading
import time

from tinkex.concurrency.at_fork import renew_after_fork
from tinkex.concurrency.shared import Shared

logger = logging.getLogger("tinkex")

FIRST_WARNING = 5.0
"""Seconds of trouble before the first warning. Most troubles pass sooner."""
NEXT_WARNING = 60.0
"""Seconds between two warnings about the same server."""


class Trouble:
    """The present trouble with one server, from the first failed try until the server answers again.

    All clients of a server in this process share one object, so that a thousand waiting results cause one warning.
    """

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.cause: str | None = None
        """Why the last try failed, or None if there is no trouble."""
        self._since = 0.0
        self._warn_at = math.inf
        self._gives_up_at = 0.0
        self._after_fork()
        renew_after_fork(self)

    def failed(self, cause: object, gives_up_in: float) -> None:
        """Record that a try has failed, and that its client gives up in ``gives_up_in`` seconds."""
        now = time.monotonic()
        with self._lock:
            if self.cause is None:
                self._since = now
                self._warn_at = max(now + FIRST_WARNING, self._warned + NEXT_WARNING)
            self.cause = str(cause)
            self._gives_up_at = now + gives_up_in
        self.warn_if_due()

    def over(self) -> None:
        """Record a good answer, which ends the trouble."""
        with self._lock:
            self.cause = None
            self._warn_at = math.inf

    def next_warning(self) -> float:
        """Return the seconds until the next warning is due, which is infinite without trouble."""
        return max(0.0, self._warn_at - time.monotonic())

    def warn_if_due(self) -> None:
        """Log a warning if one is due."""
        now = time.monotonic()
        if now < self._warn_at:
            return
        with self._lock:
            if now < self._warn_at or self.cause is None:
                return  # another thread has just logged the warning
            self._warned = now
            self._warn_at = now + NEXT_WARNING
            lasted, left, cause = now - self._since, max(0.0, self._gives_up_at - now), self.cause
        logger.warning(
            "no good answer from %s for %.0f s: %s; trying for another %.0f s",
            self.base_url, lasted, cause, left,
        )  # fmt: skip

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        self._warned = -math.inf


_known: Shared[str, Trouble] = Shared(Trouble)


def trouble_with(base_url: str) -> Trouble:
    """Return the object that all clients of this server share. The caller must keep a reference to it."""
    return _known.of(base_url)
