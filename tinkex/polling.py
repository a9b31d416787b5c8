"""Waiting for the result of a promise: every answer a server may give meanwhile."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import TypeVar

from tinkex.api import futures as api
from tinkex.errors import APIConnectionError, APIResponseValidationError, APITimeoutError, status_error
from tinkex.http.retry import backoff, retry_after
from tinkex.http.transport import Response, Transport
from tinkex.limits import ByteBudget
from tinkex.types.server import ServerFlags

T = TypeVar("T")
logger = logging.getLogger("tinkex")

BACKOFF_FIRST = 1.0
BACKOFF_LONGEST = 30.0
ODD_BAD_REQUESTS = 3
"""How often a 400 without a JSON body, which a proxy may have made, is asked again."""
BILLING_PAUSE = 10.0
"""Seconds between polls while the account cannot be billed."""
QUICK_POLL = 0.05
"""A server that says "not yet" sooner than this does not hold the poll, so the client must pace itself."""


class PromiseGone(Exception):
    """The server forgot the promise; the original request must be sent again."""


def wait_for_result(
    transport: Transport,
    flags: ServerFlags,
    request_id: str,
    kind: str,
    decode: Callable[[Response], T],
    *,
    abandoned: Callable[[], bool] = lambda: False,
    on_queue_state: Callable[[str, str | None], None] | None = None,
    budget: ByteBudget | None = None,
) -> T:
    """Poll until the work is done and return its decoded result.

    ``kind`` is the request type the server is told. With a ``budget``, a large result is fetched only
    once there is room for it. Raises ``CancelledError`` once ``abandoned()``,
    ``PromiseGone``, ``RequestFailedError``, ``APIStatusError``, or
    ``APIConnectionError`` after ``Config.outage_timeout`` seconds without a server.
    """
    outage = _Outage(transport)
    odd, billing_since, iteration, quick = 0, None, 0, 0
    reserved = 0
    try:
        while not abandoned():
            began = time.monotonic()
            try:
                answer = api.retrieve(
                    transport, request_id, kind, iteration, transport.config.poll_timeout,
                    metadata_only=budget is not None and not reserved,
                )  # fmt: skip
            except APITimeoutError as error:
                if not error.sent:
                    outage.strike(error)
                iteration += 1
                continue
            except APIConnectionError as error:
                outage.strike(error)
                continue
            iteration += 1
            if isinstance(answer, Response):
                return decode(answer)
            if isinstance(answer, api.Gone):
                raise PromiseGone(request_id)
            if isinstance(answer, api.TooLargeForNow):
                if budget is None or reserved:
                    raise APIResponseValidationError(
                        "the server announces a result again instead of sending it"
                    )
                reserved = max(1, answer.size)
                budget.acquire(reserved)
                continue
            if isinstance(answer, api.NotYet):
                outage.over()
                billing_since = None
                if on_queue_state is not None and answer.queue_state:
                    on_queue_state(answer.queue_state, answer.reason)
                quick = quick + 1 if time.monotonic() - began < QUICK_POLL else 0
                if quick:
                    transport.wait(min(QUICK_POLL * 1.5**quick, 1.0))
                continue
            response = answer.response
            refusal = status_error(
                response.status, response.content, response.headers, method="POST", url="/retrieve_future"
            )
            if response.status == 402:
                billing_since = billing_since or began
                if began - billing_since > flags.billing_exception_max_pause_duration_sec:
                    raise refusal
                if billing_since == began:
                    logger.warning("work is paused until the account can be billed: %s", refusal)
                transport.wait(retry_after(response.headers) or BILLING_PAUSE)
            elif response.status == 400:
                odd += 1
                if odd > ODD_BAD_REQUESTS:
                    raise refusal
                transport.wait(backoff(odd, BACKOFF_FIRST, BACKOFF_LONGEST))
            else:
                outage.strike(refusal, retry_after(response.headers), counts=response.status != 429)
        raise CancelledError
    finally:
        if budget is not None and reserved:
            budget.release(reserved)


class _Outage:
    """Time without a usable answer, and the growing pauses in it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.over()

    def over(self) -> None:
        """The server answers again."""
        self._since: float | None = None
        self._strikes = 0

    def strike(self, error: Exception, wait: float | None = None, counts: bool = True) -> None:
        """Wait before the next poll, or raise ``error`` when this has gone on for too long."""
        now = time.monotonic()
        self._strikes += 1
        if not counts:
            self._since = None
        elif self._since is None:
            self._since = now
        elif now - self._since > self._transport.config.outage_timeout:
            raise error
        longest = min(BACKOFF_LONGEST, self._transport.config.outage_timeout)
        self._transport.wait(backoff(self._strikes, BACKOFF_FIRST, longest) if wait is None else wait)
