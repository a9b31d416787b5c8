"""Redirects are not followed, because they could carry the API key to another host."""

from __future__ import annotations

from tinkex.errors import APIResponseValidationError
from tinkex.http.response import Response
from tinkex.observability.redact import redact


def not_an_answer(response: Response, url: str) -> APIResponseValidationError:
    """Return the error for a redirect, or for another status below 400 that is no success."""
    if not 300 <= response.status < 400:
        return APIResponseValidationError(
            f"{url} answered {response.status}, which is no answer to a request", url=url
        )
    target = response.headers.get("Location")
    to = f" to {redact(target)}" if target else ""
    return APIResponseValidationError(
        f"{url} answered {response.status}{to}; redirects are not followed, because they could carry the key "
        "elsewhere: base_url must be the address of the server itself",
        url=url,
    )
