"""The waits between polls, and when polling gives up."""

from __future__ import annotations

import logging
import time

from tinkex.errors import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    BadRequestError,
    BillingError,
    RateLimitError,
)
from tinkex.http.retry import backoff
from tinkex.http.transport import Transport
from tinkex.types.flags import ServerFlags

logger = logging.getLogger("tinkex")

BACKOFF_FIRST = 1.0
BACKOFF_LONGEST = 30.0
ODD_BAD_REQUESTS = 3
"""How often in a row a poll is repeated after a 400 without a JSON body, which may come from a proxy."""
BILLING_PAUSE = 10.0
"""Seconds between polls while the account cannot be billed."""
QUICK_POLL = 0.05
"""A server that answers "not yet" in fewer seconds than this does not hold the poll, so the client must wait."""


class Backoff:
    """Computes the waits between the polls for one result, or for the results of one sampling session.

    There is a method for each outcome of a poll. It returns the seconds to wait before the next poll, or raises
    the error of the poll if that outcome has lasted for too long.
    """

    def __init__(self, transport: Transport, flags: ServerFlags) -> None:
        self._config = transport.config
        self._trouble = transport.trouble
        self._asked_wait = transport.asked_wait
        self._flags = flags
        self._outage_since: float | None = None
        self._silent_since: float | None = None
        self._billing_since: float | None = None
        self._strikes = 0
        self._odd = 0
        self._quick = 0

    def answered(self) -> None:
        """Record a good answer, which ends any trouble."""
        self._outage_since = self._silent_since = self._billing_since = None
        self._strikes = self._odd = self._quick = 0

    def not_yet(self, held: float) -> float:
        """Record that the work is not done, and that the server held the poll for ``held`` seconds."""
        quick = self._quick + 1 if held < QUICK_POLL else 0
        self.answered()
        self._quick = quick
        self._trouble.over()  # not known to the transport, for which a 408 is a failed try
        return min(QUICK_POLL * 1.5**quick, 1.0) if quick else 0.0

    def no_answer(self, error: APIConnectionError) -> float:
        """Record that there was no connection, or that the poll was not answered in time.

        In the second case the server is there: some servers hold a poll for longer than the client waits. So it
        ends an outage, and only ``Config.poll_outage_timeout`` limits how long a server may not answer.
        """
        if not (isinstance(error, APITimeoutError) and error.sent):
            return self._outage(error, None)
        silent_since = self._silent_since
        self.answered()
        now = time.monotonic()
        self._silent_since = now - self._config.poll_timeout if silent_since is None else silent_since
        longest = self._config.poll_outage_timeout
        if longest is not None and now - self._silent_since > longest:
            raise error
        return 0.0

    def unreadable(self, error: APIError) -> float:
        """Record an answer that the protocol does not know, which may come from a proxy or be damaged."""
        return self._outage(error, None)

    def busy(self, refusal: APIStatusError) -> float:
        """Record that the server, or a proxy before it, could not answer the poll now."""
        asked = self._asked_wait(refusal.headers)
        if isinstance(refusal, BillingError):
            return self._billing(refusal, asked)
        if isinstance(refusal, BadRequestError):
            self._odd += 1
            if self._odd > ODD_BAD_REQUESTS:
                raise refusal
            return backoff(self._odd, BACKOFF_FIRST, BACKOFF_LONGEST)
        if isinstance(refusal, RateLimitError):
            self._outage_since = self._silent_since = None
            self._strikes += 1
            return self._pause(asked)
        return self._outage(refusal, asked)

    def _billing(self, refusal: BillingError, asked: float | None) -> float:
        now = time.monotonic()
        if self._billing_since is None:
            self._billing_since = now
            logger.warning("work is paused until the account can be billed: %s", refusal)
        if now - self._billing_since > self._flags.billing_exception_max_pause_duration_sec:
            raise refusal
        return min(BILLING_PAUSE, self._config.max_wait) if asked is None else asked

    def _outage(self, error: APIError, asked: float | None) -> float:
        """Record a failure in an outage, whose length ``Config.outage_timeout`` limits."""
        now = time.monotonic()
        if self._outage_since is None:
            self._outage_since = now
        left = self._outage_since + self._config.outage_timeout - now
        if left < 0:
            raise error
        self._strikes += 1
        self._trouble.failed(error, left)
        return self._pause(asked)

    def _pause(self, asked: float | None) -> float:
        longest = min(BACKOFF_LONGEST, self._config.outage_timeout)
        return backoff(self._strikes, BACKOFF_FIRST, longest) if asked is None else asked
