"""Refusals: answers with a 4xx or 5xx status, as typed errors."""

from __future__ import annotations

from collections.abc import Mapping

from tinkex.errors import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    BillingError,
    ConflictError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    UnprocessableEntityError,
    describe_body,
    is_shallow,
)
from tinkex.http.json_text import parse_json

_BY_STATUS: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    402: BillingError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    422: UnprocessableEntityError,
    429: RateLimitError,
}


def status_error(
    status_code: int,
    content: bytes,
    headers: Mapping[str, str],
    *,
    method: str,
    url: str,
) -> APIStatusError:
    """Return the typed error for an answer with a 4xx or 5xx status."""
    body = decode_body(content)
    kind = _BY_STATUS.get(status_code) or (InternalServerError if status_code >= 500 else APIStatusError)
    message = f"{status_code} from {method} {url}: {describe_body(body)}"
    error = kind(message, status_code=status_code, body=body, headers=headers, method=method, url=url)
    if error.request_id:
        error.args = (f"{message} (request id {error.request_id})",)
    return error


def decode_body(content: bytes) -> object:
    """Return the JSON in ``content``, or its text if it is not JSON, or None if it is empty."""
    if not content:
        return None
    text = content.decode("utf-8", "replace")
    try:
        decoded: object = parse_json(text)
    except ValueError:
        return text
    return decoded if is_shallow(decoded) else text
