"""Helpers of the endpoints: JSON requests, and the conversion of answers into messages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from tinkex.errors import APIResponseValidationError
from tinkex.http.transport import Response, Transport
from tinkex.types.message import Message

M = TypeVar("M", bound=Message)


def post(transport: Transport, path: str, payload: Mapping[str, Any], **options: Any) -> Any:
    """POST ``payload`` as JSON; return the JSON of the answer. ``options`` are those of ``Transport.request``."""
    return send(transport, "POST", path, payload, **options).json()


def send(
    transport: Transport, method: str, path: str, payload: Mapping[str, Any] | None = None, **options: Any
) -> Response:
    """Send ``payload`` as JSON, or no body if it is None; return the answer."""
    body = None if payload is None else json.dumps(payload, separators=(",", ":")).encode()
    return transport.request(method, path, body, **options)


def read(kind: type[M], answer: object) -> M:
    """Convert ``answer`` into a message of class ``kind``.

    Raises ``APIResponseValidationError`` if a field is missing or has a wrong type.
    """
    try:
        return kind.from_dict(answer)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise APIResponseValidationError(
            f"the server's answer is no {kind.__name__}: {error!r}", body=answer
        ) from None
