"""Promises: the answers to requests for work, and the endpoints by which their results are polled."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

from tinkex.api.call import encode
from tinkex.errors import APIResponseValidationError, APIStatusError, RequestFailedError, describe_body, final
from tinkex.http.refusal import decode_body, status_error
from tinkex.http.request import Request
from tinkex.http.response import JSON, PROTO, Response
from tinkex.http.transport import Transport
from tinkex.wire.validation import decode

T = TypeVar("T")


class Result(NamedTuple):
    """The result of work that succeeded: a JSON value, or the bytes of a proto message."""

    json: Any = None
    proto: bytes | None = None


ReadResult = Callable[[Result], T]
"""Turns a result into a typed value. Raises ``APIResponseValidationError`` if the result is not valid."""


@dataclass(frozen=True)
class Promise(Generic[T]):
    """The server's answer to a request for work, whose result is polled by ``request_id``.

    ``kind`` is the type of the request as the protocol names it. ``read`` turns the result into a ``T``. If
    ``done`` is set, it has the result, and nothing is polled.
    """

    request_id: str
    kind: str
    read: ReadResult[T] = field(repr=False)
    model_id: str | None = None
    sample_sequence_ids: Sequence[str] | None = None
    done: Done | None = None


class Done(NamedTuple):
    """The work is done. ``value`` is the result, as returned by the promise's ``read``."""

    value: Any


class NotYet(NamedTuple):
    """The work is not done. ``queue_state`` is ``active``, ``paused_capacity`` or ``paused_rate_limit``."""

    queue_state: str | None = None
    reason: str | None = None


class TooLargeForNow(NamedTuple):
    """The work is done. Its result has ``size`` bytes, and was not sent yet, so that the caller can make room."""

    size: int


class Gone:
    """The server does not know the promise any more, so the original request must be sent again."""


class Busy(NamedTuple):
    """The server, or a proxy before it, cannot answer the poll now (402, 429, 5xx, or a body that is not JSON)."""

    refusal: APIStatusError


Answer = Done | NotYet | TooLargeForNow | Gone | Busy
"""The possible answers to one poll."""


def submit(
    transport: Transport,
    path: str,
    payload: Mapping[str, Any],
    kind: str,
    read: ReadResult[T],
    **options: Any,
) -> Promise[T]:
    """POST ``payload`` as JSON; return the promise of its result. ``options`` are those of ``Request``."""
    return transport.call(
        Request("POST", path, encode(payload), **options), partial(read_promise, kind, read)
    )


def read_promise(kind: str, read: ReadResult[T], response: Response) -> Promise[T]:
    """Return the promise in the answer to a request for work."""
    answer = response.json()
    if not isinstance(answer, dict) or not isinstance(answer.get("request_id"), str):
        raise APIResponseValidationError("the server's answer names no request_id", body=answer)
    model_id, ids = answer.get("model_id"), answer.get("sample_sequence_ids")
    return Promise(
        answer["request_id"],
        kind,
        read,
        model_id if isinstance(model_id, str) else None,
        ids if isinstance(ids, list) and all(isinstance(one, str) for one in ids) else None,
    )


def json_result(result: Result, kind: str, *, has: str | None = None) -> dict[str, Any]:
    """Return the JSON object of a result of type ``kind``, such as ``optim_step``.

    Raises ``APIResponseValidationError`` if the result has another ``type``, or a field that only other kinds
    of results have. A result without a ``type`` must have the field ``has``.
    """
    answer = result.json
    if result.proto is not None or not isinstance(answer, dict):
        raise APIResponseValidationError(f"the server's result of {kind} is no JSON object", body=answer)
    said = answer.get("type")
    if said is not None and said != kind:
        raise APIResponseValidationError(f"the server's result of {kind} is of type {said!r}", body=answer)
    for name, only_of in _ONLY_OF.items():
        if name in answer and kind not in only_of:
            raise APIResponseValidationError(f"the server's result of {kind} has {name!r}", body=answer)
    if has is not None and said is None and has not in answer:
        raise APIResponseValidationError(f"the server's result of {kind} has no {has!r}", body=answer)
    return answer


_ONLY_OF = {"loss_fn_outputs": ("forward", "forward_backward"), "sequences": ("sample",)}


def retrieve(
    transport: Transport,
    promise: Promise[T],
    iteration: int,
    timeout: float,
    *,
    metadata_only: bool = False,
) -> Answer:
    """Ask once for the result of ``promise``, with a long poll of ``timeout`` seconds.

    With ``metadata_only`` the server announces a large result (``TooLargeForNow``) instead of sending it.
    Raises ``RequestFailedError`` if the work failed, ``APIStatusError`` for a final refusal,
    ``APIResponseValidationError`` for an answer that cannot be read, ``APITimeoutError`` if the poll was not
    answered in time, and ``APIConnectionError`` if the server could not be reached.
    """
    payload: dict[str, Any] = {"request_id": promise.request_id}
    if metadata_only:
        payload["allow_metadata_only"] = True
    headers = {
        "X-Tinker-Request-Type": promise.kind,
        "X-Tinker-Request-Iteration": str(iteration),
        "Accept": f"{PROTO}, {JSON}" if promise.kind in _PROTO_KINDS else JSON,
    }
    request = Request(
        "POST",
        "/retrieve_future",
        encode(payload),
        headers=headers,
        timeout=timeout,
        tries=1,
        limit=transport.config.max_result_bytes,
        raise_for_status=False,
    )
    return transport.call(request, partial(_read_answer, transport, promise))


class Completions(NamedTuple):
    """The requests of a sampling session that have been done since the last ``cursor``."""

    done: Sequence[str]
    cursor: int


def retrieve_many(
    transport: Transport,
    sampling_session_id: str,
    clone_id: int,
    cursor: int,
    retrieved: Collection[str],
    timeout: float,
) -> Completions | Busy:
    """Ask once, with a long poll, which samples of a sampling session are done.

    ``clone_id`` identifies this client. ``retrieved`` are the requests whose results it has fetched, which the
    server need not keep. Raises the errors of ``retrieve``.
    """
    target = {
        "type": "sampling_session",
        "sampling_session_id": sampling_session_id,
        "cloned_sampler_id": clone_id,
    }
    payload = {"target": target, "prev_cursor": cursor, "retrieved_request_ids": sorted(retrieved)}
    request = Request(
        "POST",
        "/retrieve_futures",
        encode(payload),
        timeout=timeout,
        tries=1,
        limit=transport.config.max_result_bytes,
        raise_for_status=False,
    )
    return transport.call(request, _read_completions)


def cancel(transport: Transport, request_id: str) -> None:
    """Tell the server, in one try, that the result of a request is not needed any more."""
    transport.request("POST", "/cancel_future", encode({"request_id": request_id}), tries=1)


_PROTO_KINDS = ("Sample", "Forward", "ForwardBackward")


def _read_answer(transport: Transport, promise: Promise[Any], response: Response) -> Answer:
    if response.status >= 400:
        return _read_refusal(transport, promise, response)
    if response.is_proto:
        return Done(promise.read(Result(proto=response.content)))
    answer = response.json()
    if isinstance(answer, dict):
        if answer.get("type") == "try_again":
            return NotYet(_text(answer.get("queue_state")), _text(answer.get("queue_state_reason")))
        if answer.get("status") == "complete_metadata":
            return TooLargeForNow(_size(answer))
        if "error" in answer and "category" in answer:
            raise _failed(transport, str(answer["error"]), promise, answer["category"])
    return Done(promise.read(Result(json=answer)))


def _read_completions(response: Response) -> Completions | Busy:
    if response.status >= 400:
        refusal = _refusal(response, "/retrieve_futures")
        if response.status in (400, 402, 408, 429) or response.status >= 500:
            return Busy(refusal)
        raise refusal
    return decode("list of completions", _completions, response.json())


def _completions(answer: Any) -> Completions:
    done, cursor = [one["request_id"] for one in answer["completions"]], answer["cursor"]
    if type(cursor) is not int or not all(isinstance(one, str) for one in done):
        raise ValueError("a cursor is a whole number, and a request_id is text")
    return Completions(done, cursor)


def _read_refusal(transport: Transport, promise: Promise[Any], response: Response) -> Answer:
    status = response.status
    body = decode_body(response.content)
    fields: Mapping[str, Any] = body if isinstance(body, dict) else {}
    if status == 408:
        return NotYet(_text(fields.get("queue_state")), _text(fields.get("queue_state_reason")))
    if status == 410:
        return Gone()
    if status == 400 and fields:
        raise _failed(transport, describe_body(body), promise, fields.get("category", "user"))
    refusal = _refusal(response, "/retrieve_future")
    if not fields or status in (402, 429) or status >= 500:
        return Busy(refusal)
    raise final(refusal)


def _failed(
    transport: Transport, message: str, promise: Promise[Any], category: object
) -> RequestFailedError:
    # Some servers repeat the request in the error, which may contain credentials.
    return RequestFailedError(transport.redact(message), promise.request_id, str(category).lower())


def _refusal(response: Response, path: str) -> APIStatusError:
    return status_error(response.status, response.content, response.headers, method="POST", url=path)


def _size(answer: Mapping[str, Any]) -> int:
    size = answer.get("response_payload_size") or 0
    if type(size) is not int or size < 0:
        raise APIResponseValidationError("the size of the server's result is no number", body=answer)
    return size


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
