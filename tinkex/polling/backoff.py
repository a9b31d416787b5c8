"""How long to wait before asking a server again for a result, and when to give up."""

from __future__ import annotations

import logging
import time

from tinkex.errors import APIConnectionError, APITimeoutError, status_error
from tinkex.http.retry import backoff, retry_after
from tinkex.http.transport import Response, Transport
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


class Patience:
    """Waits between the polls for one result, or for those of one session."""

    def __init__(self, transport: Transport, flags: ServerFlags) -> None:
        self._transport = transport
        self._flags = flags
        self._outage_since: float | None = None
        self._billing_since: float | None = None
        self._strikes = 0
        self._odd = 0
        self._quick = 0

    def answered(self) -> None:
        """The server is there, and asks for no patience."""
        self._outage_since = self._billing_since = None
        self._strikes = self._quick = 0

    def not_yet(self, held: float) -> None:
        """The server works on it, and held the poll for ``held`` seconds."""
        quick = self._quick + 1 if held < QUICK_POLL else 0
        self.answered()
        self._quick = quick
        if self._quick:
            self._transport.wait(min(QUICK_POLL * 1.5**self._quick, 1.0))

    def no_answer(self, error: APIConnectionError) -> None:
        """The poll ran out, which is its nature, or there was no connection, which may pass."""
        if isinstance(error, APITimeoutError) and error.sent:
            self.answered()
        else:
            self._strike(error, None)

    def busy(self, response: Response) -> None:
        """The server asks for patience; raises the refusal when this has gone on for too long."""
        error = status_error(
            response.status, response.content, response.headers, method="POST", url="/retrieve_future"
        )
        asked = retry_after(response.headers)
        if response.status == 402:
            self._wait_for_billing(error, asked)
        elif response.status == 400:
            self._odd += 1
            if self._odd > ODD_BAD_REQUESTS:
                raise error
            self._transport.wait(backoff(self._odd, BACKOFF_FIRST, BACKOFF_LONGEST))
        elif response.status == 429:
            self._outage_since = None
            self._strikes += 1
            self._pause(asked)
        else:
            self._strike(error, asked)

    def _wait_for_billing(self, error: Exception, asked: float | None) -> None:
        now = time.monotonic()
        if self._billing_since is None:
            self._billing_since = now
            logger.warning("work is paused until the account can be billed: %s", error)
        if now - self._billing_since > self._flags.billing_exception_max_pause_duration_sec:
            raise error
        self._transport.wait(BILLING_PAUSE if asked is None else asked)

    def _strike(self, error: Exception, asked: float | None) -> None:
        """Part of an outage: wait, or raise ``error`` if it has lasted for ``Config.outage_timeout``."""
        now = time.monotonic()
        if self._outage_since is None:
            self._outage_since = now
        if now - self._outage_since > self._transport.config.outage_timeout:
            raise error
        self._strikes += 1
        self._pause(asked)

    def _pause(self, asked: float | None) -> None:
        longest = min(BACKOFF_LONGEST, self._transport.config.outage_timeout)
        self._transport.wait(backoff(self._strikes, BACKOFF_FIRST, longest) if asked is None else asked)
