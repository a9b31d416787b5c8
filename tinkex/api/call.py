"""JSON calls, and reading their answers into types."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from tinkex.errors import InputError
from tinkex.http.transport import Response, Transport
from tinkex.types.message import Message
from tinkex.wire.validation import decode

M = TypeVar("M", bound=Message)


def post(transport: Transport, path: str, payload: Mapping[str, Any], **options: Any) -> Any:
    """POST ``payload`` as JSON; the answer's JSON. ``options`` as ``Transport.call`` takes them."""
    return transport.call("POST", path, _encode(payload), read=Response.json, **options)


def get(transport: Transport, path: str, **query: object) -> Any:
    """GET ``path``; the answer's JSON. Parts of the query that are None are left out."""
    return transport.call("GET", path, read=Response.json, query=query)


def send(
    transport: Transport, method: str, path: str, payload: Mapping[str, Any] | None = None, **options: Any
) -> Response:
    """Send ``payload`` as JSON (None for no body); the answer as it came."""
    return transport.request(method, path, None if payload is None else _encode(payload), **options)


def _encode(payload: Mapping[str, Any]) -> bytes:
    return json.dumps(payload, separators=(",", ":")).encode()


def read(kind: type[M], answer: object) -> M:
    """``answer`` as ``kind``; raises ``APIResponseValidationError`` if a field is missing or mistyped."""
    return decode(kind.__name__, kind.from_dict, answer, body=answer)


def segment(text: str) -> str:
    """``text`` as one segment of a URL path; raises ``InputError`` for what cannot be one."""
    if not isinstance(text, str) or text in ("", ".", ".."):
        raise InputError(f"not an id: {text!r}")
    try:
        return quote(text, safe=":@")
    except UnicodeEncodeError:  # half of a surrogate pair
        raise InputError(f"not an id: {text!r}") from None
