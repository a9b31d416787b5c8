"""How long to wait before asking a server again for a result, and when to give up."""

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
"""How often a 400 without a JSON body, which a proxy may have made, is asked again."""
BILLING_PAUSE = 10.0
"""Seconds between polls while the account cannot be billed."""
QUICK_POLL = 0.05
"""A server that says "not yet" sooner than this does not hold the poll, so the client must pace itself."""


class Backoff:
    """The waits between the polls for one result, or for those of one sampling session.

    Each method is told how a poll went and returns the seconds to wait before the next one; it raises the
    error of the poll once that has gone on for too long.
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
        """The server has answered as it should."""
        self._outage_since = self._silent_since = self._billing_since = None
        self._strikes = self._quick = 0

    def not_yet(self, held: float) -> float:
        """The work is not done; the server held the poll for ``held`` seconds."""
        quick = self._quick + 1 if held < QUICK_POLL else 0
        self.answered()
        self._quick = quick
        return min(QUICK_POLL * 1.5**quick, 1.0) if quick else 0.0

    def no_answer(self, error: APIConnectionError) -> float:
        """There was no connection, which may pass, or the poll ran out.

        A poll that runs out was held by a server that is there, for some hold it longer than the client waits.
        So it ends an outage, and only ``Config.poll_outage_timeout`` bounds a server that never answers.
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
        """The answer was none of those that the protocol knows: perhaps a proxy's, perhaps damaged."""
        return self._outage(error, None)

    def busy(self, refusal: APIStatusError) -> float:
        """The server, or a proxy before it, asks to come again later."""
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
        return BILLING_PAUSE if asked is None else asked

    def _outage(self, error: APIError, asked: float | None) -> float:
        """Part of an outage, which ``Config.outage_timeout`` bounds."""
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
