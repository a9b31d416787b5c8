"""Removes credentials and signed URLs from what a cassette keeps."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from typing import Any

from tinkex.observability.redact import HIDDEN, redact
from tinkex.testing.requests import SECRET_HEADERS

LINK = "https://signed-link.invalid/"
"""What a signed URL is replaced by, before its number. No host has this name."""

KEPT_HEADERS = frozenset(
    {"content-type", "retry-after", "x-should-retry", "etag", "accept-ranges", "content-range", "location"}
)
"""The headers of answers that are kept, in lower case."""

_SECRET_FIELD = re.compile(
    r"(access_token|auth_token|api_key|apikey|secret|password|credential|jwt|authorization|cookie)$", re.I
)
_URL = re.compile(r"""https?://[^\s"'<>\\]+""")


class Scrubber:
    """Knows the credentials and the signed URLs that it has seen. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._secrets: set[str] = set()
        self._links: dict[str, str] = {}

    def note_headers(self, headers: Mapping[str, Any]) -> None:
        """Remember the credentials in the headers of a request."""
        found = {str(value) for name, value in headers.items() if name.lower() in SECRET_HEADERS}
        found |= {word for value in found for word in value.split() if len(word) > 6}
        with self._lock:
            self._secrets |= found

    def link_of(self, url: str) -> str | None:
        """Return what stands for a signed URL, or None if ``url`` is not a signed URL that was seen."""
        if url.startswith(LINK):
            return url
        with self._lock:
            return self._links.get(url)

    def url(self, url: str) -> str:
        """Return what stands for a signed URL, from now on."""
        with self._lock:
            return self._links.setdefault(url, f"{LINK}{len(self._links) + 1}")

    def text(self, text: str) -> str:
        """Return ``text`` without credentials, and without URLs that have a query."""
        text = _URL.sub(lambda found: self.url(found[0]) if "?" in found[0] else found[0], text)
        with self._lock:
            links, secrets = dict(self._links), set(self._secrets)
        for url, link in links.items():
            text = text.replace(url, link)
        return redact(text, secrets)

    def json(self, value: Any, field: str = "") -> Any:
        """Return a JSON value without credentials and signed URLs. ``field`` is the name of the field it is in."""
        if isinstance(value, dict):
            return {name: self.json(each, f"{field}.{name}") for name, each in value.items()}
        if isinstance(value, list):
            return [self.json(each, field) for each in value] if _has_text(value) else value
        if not isinstance(value, str):
            return value
        if _SECRET_FIELD.search(field):
            return HIDDEN
        if "url" in field.lower() and _URL.fullmatch(value):
            return self.url(value)
        return self.text(value)

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers of an answer that are kept."""
        kept = {name: value for name, value in headers.items() if name.lower() in KEPT_HEADERS}
        return {
            name: self.url(value) if name.lower() == "location" else self.text(value)
            for name, value in kept.items()
        }


def _has_text(values: list[Any]) -> bool:
    """Whether a list may hold text. Most lists hold thousands of numbers."""
    return any(isinstance(value, (str, dict, list)) for value in values)
