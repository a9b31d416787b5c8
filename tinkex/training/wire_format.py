"""Finds out whether a server accepts training requests in proto or in JSON."""

from __future__ import annotations

from typing import Literal

from tinkex.api import training as api
from tinkex.api.futures import Promise
from tinkex.errors import APIError, APIStatusError
from tinkex.http.transport import Transport
from tinkex.types.training import ForwardBackwardOutput

# The format by base URL, found by the first training request. It needs no lock: dict operations are atomic.
_found: dict[str, Literal["proto", "json"]] = {}

_MAY_MEAN_JSON_ONLY = frozenset({400, 415, 422, 500})


def submit(
    transport: Transport, model_id: str, seq_id: int, *, batch: api.Batch, compress: bool
) -> Promise[ForwardBackwardOutput]:
    """Submit a pass in the format that the server accepts.

    While the format is unknown, the pass is sent in proto, and if the server cannot read it, again in JSON with
    the same ``seq_id``. If the server refuses both, the refusal of proto is raised, unless it was a 5xx.
    """
    asked = transport.config.wire_format
    if any(chunk.type == "image_asset_pointer" for datum in batch.data for chunk in datum.model_input.chunks):
        asked = "json"  # the proto messages have no such chunk
    may_mean_json_only = _MAY_MEAN_JSON_ONLY
    if any(datum.model_input_spans is not None for datum in batch.data):
        # The other statuses may refuse the spans, which JSON would lose.
        may_mean_json_only = frozenset({415})
    known = _found.get(transport.base_url) if asked == "auto" else asked
    if known is not None:
        return api.forward_backward(transport, model_id, seq_id, batch, known, compress=compress)
    try:
        promise = api.forward_backward(
            transport, model_id, seq_id, batch, "proto", final=may_mean_json_only, compress=compress
        )
    except APIStatusError as refusal:
        if refusal.status_code not in may_mean_json_only:
            raise
        return _try_json(transport, model_id, seq_id, batch, refusal)
    _found[transport.base_url] = "proto"
    return promise


def note(base_url: str, found: Literal["proto", "json"]) -> None:
    """Take it as known that a server accepts the format ``found``."""
    _found[base_url] = found


def forget(base_url: str | None = None) -> None:
    """Forget the format of a server, or of all servers, because its address may be another server's from now on."""
    if base_url is None:
        _found.clear()
    else:
        _found.pop(base_url, None)


def _try_json(
    transport: Transport, model_id: str, seq_id: int, batch: api.Batch, refusal: APIStatusError
) -> Promise[ForwardBackwardOutput]:
    try:
        promise = api.forward_backward(transport, model_id, seq_id, batch, "json")
    except APIError as second:
        # The outcome is unknown if either try left it unknown.
        second.sent = refusal.sent = second.sent or refusal.sent
        status = second.status_code if isinstance(second, APIStatusError) else None
        if status == 415 and refusal.status_code >= 500:  # the server accepts only proto, and has just failed
            return _try_proto_again(transport, model_id, seq_id, batch)
        if status in _MAY_MEAN_JSON_ONLY and refusal.status_code < 500:
            raise refusal from None
        raise
    _found[transport.base_url] = "json"
    return promise


def _try_proto_again(
    transport: Transport, model_id: str, seq_id: int, batch: api.Batch
) -> Promise[ForwardBackwardOutput]:
    try:
        return api.forward_backward(transport, model_id, seq_id, batch, "proto")
    except APIError as third:
        third.sent = True  # the server may have accepted the first try, which was answered with a 5xx
        raise
