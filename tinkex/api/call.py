"""Helpers of the endpoints: JSON requests, and the conversion of answers into messages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from tinkex.errors import InputError
from tinkex.http.request import Request
from tinkex.http.response import Response
from tinkex.http.transport import Transport
from tinkex.types.message import Message
from tinkex.wire.validation import decode

M = TypeVar("M", bound=Message)


def post(transport: Transport, path: str, payload: Mapping[str, Any], **options: Any) -> Any:
    """POST ``payload`` as JSON; return the JSON of the answer. ``options`` are those of ``Request``."""
    return transport.call(Request("POST", path, encode(payload), **options), Response.json)


def get(transport: Transport, path: str, **query: object) -> Any:
    """GET ``path``; return the JSON of the answer. Parts of the query that are None are left out."""
    return transport.call(Request("GET", path, query=query), Response.json)


def send(
    transport: Transport, method: str, path: str, payload: Mapping[str, Any] | None = None, **options: Any
) -> Response:
    """Send ``payload`` as JSON, or no body if it is None; return the answer."""
    return transport.request(method, path, None if payload is None else encode(payload), **options)


def encode(payload: Mapping[str, Any]) -> bytes:
    """Return ``payload`` as compact JSON."""
    return json.dumps(payload, separators=(",", ":")).encode()


def read(kind: type[M], answer: object) -> M:
    """Convert ``answer`` into a message of class ``kind``.

    Raises ``APIResponseValidationError`` if a field is missing or has a wrong type.
    """
    return decode(kind.__name__, kind.from_dict, answer, body=answer)


def segment(text: str) -> str:
    """Return ``text`` as one segment of a URL path. Raises ``InputError`` if it cannot be one."""
    if not isinstance(text, str) or text in ("", ".", ".."):
        raise InputError(f"not an id: {text!r}")
    try:
        return quote(text, safe=":@")
    except UnicodeEncodeError:  # half of a surrogate pair
        raise InputError(f"not an id: {text!r}") from None
