"""The request and the response that an error describes, with the attributes of those of httpx and ``requests``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ErrorRequest:
    """A request, without its key and its body."""

    method: str = ""
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ErrorResponse:
    """A response: its status, its headers, and its body as an error keeps it."""

    status_code: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: object = field(default=None, repr=False)
    request: ErrorRequest = ErrorRequest()

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body if isinstance(self.body, str) else "" if self.body is None else json.dumps(self.body)

    @property
    def content(self) -> bytes:
        """The body as bytes."""
        return self.text.encode()

    def json(self) -> Any:
        """Return the body as JSON. Raises ``ValueError`` if it is none."""
        return json.loads(self.text) if isinstance(self.body, str) or self.body is None else self.body
