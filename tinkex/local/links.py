"""Download links, which work for a while without the server's key."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

LIFETIME = 900.0
"""Seconds for which a link works."""


class Link(NamedTuple):
    """The target of a link. ``read`` returns the content when a client requests it."""

    read: Callable[[], bytes]
    content_type: str
    expires: float


class Links:
    """The links of a server, by the random token in their URL."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._links: dict[str, Link] = {}

    def new(self, read: Callable[[], bytes], content_type: str) -> str:
        """Make a link to the content that ``read`` returns; return the token of the link."""
        token, now = secrets.token_urlsafe(24), time.monotonic()
        with self._lock:
            self._links = {held: link for held, link in self._links.items() if link.expires > now}
            self._links[token] = Link(read, content_type, now + LIFETIME)
        return token

    def find(self, token: str) -> Link | None:
        """Return the link of ``token``, or None if it has expired or never existed."""
        with self._lock:
            link = self._links.get(token)
        return None if link is None or link.expires <= time.monotonic() else link
