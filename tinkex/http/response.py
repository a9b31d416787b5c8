"""An HTTP answer that has been read completely."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tinkex.errors import APIResponseValidationError
from tinkex.http.json_text import parse_json
from tinkex.observability.redact import HIDDEN, redact

JSON = "application/json"
PROTO = "application/x-protobuf"


class Response(NamedTuple):
    """An HTTP answer, read completely. ``secrets`` are credentials of the request, which must not be shown."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    secrets: tuple[bytes, ...] = ()

    def __repr__(self) -> str:
        return f"Response({self.status}, {len(self.content)} bytes)"

    @property
    def is_proto(self) -> bool:
        """Whether the content is a proto message."""
        return self.headers.get("Content-Type", "").startswith(PROTO)

    def json(self) -> Any:
        """Return the content as JSON. Raises ``APIResponseValidationError`` if it is not JSON."""
        content = self.content
        for secret in self.secrets:
            if secret in content:  # some servers repeat what they were sent
                content = content.replace(secret, HIDDEN.encode())
        try:
            return parse_json(content)
        except ValueError:
            shown = redact(content[:200].decode("utf-8", "replace"))
        # Raised outside the handler, so that the parser's error, which holds the content, is not chained to it.
        raise APIResponseValidationError(f"the server's answer is not JSON: {shown!r}")
