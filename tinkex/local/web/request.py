"""One HTTP request, as endpoints see it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

from tinkex.local.protocol.fields import Fields
from tinkex.local.protocol.refused import Refused

JSON = "application/json"
PROTO = "application/x-protobuf"


class Request:
    """A request, read from the environment that a WSGI server gives."""

    def __init__(self, environ: Mapping[str, Any]) -> None:
        self._environ = environ
        self.method: str = environ["REQUEST_METHOD"]
        # WSGI hands the bytes of the path over as Latin-1 text.
        self.path: str = str(environ["PATH_INFO"]).encode("latin-1").decode("utf-8", "replace")
        self.parameters: Mapping[str, str] = {}
        """The parts of the path that the route names."""

    def header(self, name: str) -> str | None:
        """The value of a header, None if the request has none of that name."""
        value: str | None = self._environ.get(f"HTTP_{name.upper().replace('-', '_')}")
        return value

    @property
    def content_type(self) -> str:
        """The media type of the body in lower case, without its parameters; empty if none is given."""
        return str(self._environ.get("CONTENT_TYPE", "")).partition(";")[0].strip().lower()

    @property
    def accepts_proto(self) -> bool:
        """Whether the client reads proto results."""
        return PROTO in (self.header("Accept") or "")

    @cached_property
    def query(self) -> Mapping[str, str]:
        """The parameters of the query string, the first where a name repeats."""
        pairs = parse_qsl(self._environ.get("QUERY_STRING", ""), keep_blank_values=True)
        return dict(reversed(pairs))

    @cached_property
    def body(self) -> bytes:
        """The body; raises ``Refused`` (415) if it is compressed."""
        encoding = self.header("Content-Encoding") or "identity"
        if encoding.strip().lower() != "identity":
            raise Refused(415, f"content encoding {encoding!r}: this server takes no compressed bodies")
        data: bytes = self._environ["wsgi.input"].read(int(self._environ.get("CONTENT_LENGTH") or 0))
        return data

    @cached_property
    def fields(self) -> Fields:
        """The fields of the JSON body.

        Raises ``Refused``: 415 if the body is of another content type, 400 if it is not JSON, and 422 if it is no
        JSON object.
        """
        if self.content_type != JSON:
            raise Refused(415, f"content type {self.content_type or 'none'!r} is not {JSON}")
        try:
            document = json.loads(self.body)
        except RecursionError:
            raise Refused(400, "the body is nested too deeply") from None
        except (
            ValueError
        ) as error:  # also for bytes that are not UTF-8, and for integers with thousands of digits
            raise Refused(400, f"the body is not JSON: {error}") from None
        return Fields(document)

    @property
    def base_url(self) -> str:
        """``http://HOST:PORT`` as the client addressed it."""
        host = self.header("Host")
        if host is None:
            host = f"{self._environ['SERVER_NAME']}:{self._environ['SERVER_PORT']}"
        return f"{self._environ['wsgi.url_scheme']}://{host}"

    def integer(self, name: str, default: int) -> int:
        """A parameter of the query that must be an integer of at least 0; raises ``Refused`` (422) otherwise."""
        text = self.query.get(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdecimal() and len(text) <= 9):
            raise Refused(422, f"{name}: must be an integer of at least 0")
        return int(text)
