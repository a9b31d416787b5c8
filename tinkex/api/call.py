"""JSON calls, and reading their answers into types."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from tinkex.errors import APIResponseValidationError
from tinkex.http.transport import Response, Transport
from tinkex.types.message import Message

M = TypeVar("M", bound=Message)


def post(transport: Transport, path: str, payload: Mapping[str, Any], **options: Any) -> Any:
    """POST ``payload`` as JSON; the answer's JSON. ``options`` as ``Transport.request`` takes them."""
    return send(transport, "POST", path, payload, **options).json()


def send(
    transport: Transport, method: str, path: str, payload: Mapping[str, Any] | None = None, **options: Any
) -> Response:
    """Send ``payload`` as JSON (None for no body); the answer as it came."""
    body = None if payload is None else json.dumps(payload, separators=(",", ":")).encode()
    return transport.request(method, path, body, **options)


def read(kind: type[M], answer: object) -> M:
    """``answer`` as ``kind``; raises ``APIResponseValidationError`` if a field is missing or mistyped."""
    try:
        return kind.from_dict(answer)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise APIResponseValidationError(
            f"the server's answer is no {kind.__name__}: {error!r}", body=answer
        ) from None
