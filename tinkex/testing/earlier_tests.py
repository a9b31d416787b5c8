"""Tells the requests of an earlier test's clients from those of the present test."""

from __future__ import annotations

import re
from collections.abc import Mapping

# A session id, which the ids of models and samplers start with; but not in the path of a checkpoint.
_SESSION = re.compile(
    rb"(?<!tinker://)\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?=[:\"/\x00-\x1f*]|$)"
)
_PROMISE = re.compile(rb'"request_id"\s*:\s*"([0-9a-f]{12})-')
_ENDS = 4096  # how many bytes of the start and the end of a body are searched


class EarlierTests:
    """The keys, sessions and promises of tests that are over."""

    def __init__(self) -> None:
        self._keys: set[str] = set()
        self._ids: set[bytes] = set()

    def add(self, key: str, session_ids: list[str], promises: str) -> None:
        """Note what belongs to a test that is over. ``promises`` is the first part of the ids of its promises."""
        self._keys.add(key)
        self._ids.update(name.encode() for name in (*session_ids, promises))

    def sent(self, path: str, secrets: Mapping[str, str], content: bytes) -> bool:
        """Return whether a client of an earlier test sent a request with this path, credentials and content."""
        if secrets.get("x-api-key") in self._keys:
            return True
        if not self._ids:
            return False
        text = content if len(content) <= 2 * _ENDS else content[:_ENDS] + content[-_ENDS:]
        names = _SESSION.findall(path.encode("utf-8", "replace")) + _SESSION.findall(text)
        return not self._ids.isdisjoint(names + _PROMISE.findall(text))
