"""Checks the digests that storage services send along with a file."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping

_LENGTHS = {"sha256": 32, "sha1": 20, "md5": 16}
"""The algorithms that are checked, the strongest first, and the size of their digests in bytes."""


class Digest:
    """An expected digest, to be compared with the data that arrives. ``name`` is its algorithm."""

    def __init__(self, name: str, expected: bytes) -> None:
        self.name = name
        self._expected = expected
        self._hash = hashlib.new(name, usedforsecurity=False)

    def update(self, chunk: bytes) -> None:
        """Add the next bytes of the data."""
        self._hash.update(chunk)

    def matches(self) -> bool:
        """Return whether the data has the expected digest."""
        return hmac.compare_digest(self._hash.digest(), self._expected)


def digest_of(headers: Mapping[str, str]) -> Digest | None:
    """Return the strongest digest in the headers of an answer that contains a whole file, or None.

    The headers that are read are ``Repr-Digest`` and ``Content-Digest`` (RFC 9530), ``Digest`` (RFC 3230),
    ``Content-MD5``, ``x-amz-checksum-sha256``, ``x-amz-checksum-sha1``, and the md5 of ``x-goog-hash``.
    """
    given = {name: value for name, value in _given(headers) if len(value) == _LENGTHS.get(name)}
    return next((Digest(name, given[name]) for name in _LENGTHS if name in given), None)


def _given(headers: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    pairs = [("md5", headers.get("Content-MD5", ""))]
    pairs += [(name, headers.get(f"x-amz-checksum-{name}", "")) for name in ("sha256", "sha1")]
    for header in ("Repr-Digest", "Content-Digest", "Digest", "x-goog-hash"):
        for part in headers.get(header, "").split(","):
            name, _, value = part.strip().partition("=")
            pairs.append((re.sub("^sha-", "sha", name.lower()), value.strip(":")))
    for name, value in pairs:
        try:
            yield name, base64.b64decode(value, validate=True)
        except ValueError:
            continue  # for example the combined digest of a file that was uploaded in parts
