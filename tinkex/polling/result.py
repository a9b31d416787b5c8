"""Waiting for the result of a promise: every answer a server may give meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import TypeVar

from tinkex.api import futures as api
from tinkex.api.futures import Promise
from tinkex.concurrency.limits import ByteBudget
from tinkex.errors import APIConnectionError, APIResponseValidationError
from tinkex.http.transport import Response, Transport
from tinkex.polling.backoff import Patience
from tinkex.polling.queue_state import OnQueueState, tell
from tinkex.types.flags import ServerFlags

T = TypeVar("T")


RESUBMISSIONS = 2


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
    on_queue_state: OnQueueState | None = None,
    budget: ByteBudget | None = None,
) -> T:
    """Poll until the work is done and return its decoded result.

    ``kind`` is the request type the server is told. With a ``budget``, a large result is fetched only
    once there is room for it. Raises ``CancelledError`` once ``abandoned()``,
    ``PromiseGone``, ``RequestFailedError``, ``APIStatusError``, or
    ``APIConnectionError`` after ``Config.outage_timeout`` seconds without a server.
    """
    patience = Patience(transport, flags)
    iteration = reserved = 0
    try:
        while not abandoned():
            began = time.monotonic()
            try:
                answer = api.retrieve(
                    transport,
                    request_id,
                    kind,
                    iteration,
                    transport.config.poll_timeout,
                    metadata_only=budget is not None and not reserved,
                )
            except APIConnectionError as error:
                patience.no_answer(error)
                continue
            finally:
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
                budget.acquire(answer.size)
                reserved = answer.size
            elif isinstance(answer, api.NotYet):
                if on_queue_state is not None and answer.queue_state:
                    tell(on_queue_state, answer.queue_state, answer.reason)
                patience.not_yet(time.monotonic() - began)
            else:
                patience.busy(answer.response)
        raise CancelledError
    finally:
        if budget is not None and reserved:
            budget.release(reserved)


def wait_or_resubmit(
    transport: Transport,
    flags: ServerFlags,
    promise: Promise,
    submit: Callable[[], Promise],
    kind: str,
    decode: Callable[[Response], T],
    on_queue_state: OnQueueState | None = None,
) -> T:
    """``wait_for_result``; where the server forgot the ``promise``, ``submit`` sends the same request again."""
    forgotten = 0
    while True:
        try:
            return wait_for_result(
                transport, flags, promise.request_id, kind, decode, on_queue_state=on_queue_state
            )
        except PromiseGone:
            forgotten += 1
        if forgotten > RESUBMISSIONS:
            raise APIConnectionError(f"the server forgot a {kind} request {forgotten} times")
        promise = submit()
