"""The answer to one HTTP request."""

from __future__ import annotations

import json
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

from tinkex.local.protocol.refused import Refused

_STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


class Answer(NamedTuple):
    """The answer to a request: a status, a body with its content type, and further headers."""

    status: int
    body: bytes
    content_type: str | None
    headers: Sequence[tuple[str, str]] = ()

    @property
    def status_line(self) -> str:
        """The status with its name, such as ``200 OK``."""
        return _STATUS_LINES[self.status]

    @property
    def all_headers(self) -> list[tuple[str, str]]:
        """The headers, with those that describe the body."""
        described = [*self.headers, ("Content-Length", str(len(self.body)))]
        if self.content_type is not None:
            described.append(("Content-Type", self.content_type))
        return described if self.status != 204 else list(self.headers)


def document(body: Any, status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> Answer:
    """A JSON answer."""
    return Answer(status, json.dumps(body, separators=(",", ":")).encode(), "application/json", headers)


def refusal(refused: Refused) -> Answer:
    """The answer that tells a client why its request is refused."""
    headers = []
    if refused.status == 409:
        # Clients try again after a 409 unless they are told not to. Here a second try would fail too.
        headers.append(("X-Should-Retry", "false"))
    if refused.retry_after is not None:
        headers.append(("Retry-After", f"{refused.retry_after:g}"))
    return document({"detail": refused.detail}, refused.status, headers)


NO_CONTENT = Answer(204, b"", None)
