"""Promises: the results of requests are retrieved, and samples are cancelled."""

from __future__ import annotations

import re

from tinkex.local.protocol.refused import Refused
from tinkex.local.routes.routing import Route
from tinkex.local.state import State
from tinkex.local.web.answer import Answer, document
from tinkex.local.web.request import PROTO, Request
from tinkex.local.work.promises import Failure, Promise

_WORD_STARTS = re.compile(r"(?<!^)(?=[A-Z])")


def retrieve_future(state: State, request: Request) -> Answer:
    """Wait for the result of a request, as a long poll.

    A JSON result has a ``type``, which names the kind of request it answers.
    """
    promise = state.promises.get(request.fields.text("request_id"))
    _check_kind(promise, request.header("X-Tinker-Request-Type"))
    # A closing state fails all promises. A poll for a promise that is made later would not be woken.
    outcome = None if state.closing.is_set() else promise.wait(state.poll_timeout)
    if state.closing.is_set():
        raise Refused(503, "the server is stopping", retry_after=1)
    if outcome is None:
        waiting = {"type": "try_again", "request_id": promise.request_id, "queue_state": "active"}
        return document(waiting, 408)
    if isinstance(outcome, Failure):
        return document({"error": outcome.error, "category": outcome.category})
    message = outcome.to_proto() if request.accepts_proto else None
    if message is not None:
        return Answer(200, message, PROTO)
    return document({"type": promise.kind, **outcome.to_json()})


def _check_kind(promise: Promise, expected: str | None) -> None:
    """Refuse a poll that expects the result of another kind of request.

    The header names the kind differently: ``OptimStep`` for ``optim_step``.
    """
    if expected is not None and _WORD_STARTS.sub("_", expected).lower() != promise.kind:
        raise Refused(
            409,
            f"request {promise.request_id} is of type {promise.kind}, not {expected}: it is another request",
        )


def retrieve_futures(state: State, request: Request) -> Answer:
    """Wait until samples of a sampling client are done, as a long poll for all of them at once."""
    fields = request.fields
    target = fields.child("target")
    if target.text("type") != "sampling_session":
        raise Refused(422, "target.type: must be sampling_session")
    sampler = state.sampler(target.text("sampling_session_id"))
    log = state.completions(sampler, target.integer("cloned_sampler_id", 0, low=0))
    timeout = min(fields.number("timeout", state.poll_timeout, low=0), state.poll_timeout)
    done, cursor = log.after(fields.integer("prev_cursor", 0, low=0), timeout)
    completions = [
        {"request_id": each.request_id, "state": "failed" if each.failed else "finished"} for each in done
    ]
    return document({"completions": completions, "cursor": cursor})


def cancel_future(state: State, request: Request) -> Answer:
    """Cancel a sample. Requests of other kinds are carried out all the same."""
    promise = state.promises.get(request.fields.text("request_id"))
    if promise.cancellable:
        promise.resolve(Failure("cancelled by the client", "user"))
    return document({"type": "cancel_future", "request_id": promise.request_id})


ROUTES = (
    Route("POST", "/retrieve_future", retrieve_future),
    Route("POST", "/retrieve_futures", retrieve_futures),
    Route("POST", "/cancel_future", cancel_future),
)
