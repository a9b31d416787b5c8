"""The digests that stores send along with a file."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping

_LENGTHS = {"sha256": 32, "sha1": 20, "md5": 16}
"""The algorithms that are checked, the best first, and the bytes of a value of theirs."""


class Digest:
    """A digest to be compared with what arrives. ``name`` is its algorithm."""

    def __init__(self, name: str, expected: bytes) -> None:
        self.name = name
        self._expected = expected
        self._hash = hashlib.new(name, usedforsecurity=False)

    def update(self, chunk: bytes) -> None:
        """Take in the next bytes."""
        self._hash.update(chunk)

    def matches(self) -> bool:
        """Whether what was taken in is what was expected."""
        return hmac.compare_digest(self._hash.digest(), self._expected)


def digest_of(headers: Mapping[str, str]) -> Digest | None:
    """The best digest of the whole file in the headers of an answer that brings the whole file.

    Read are ``Repr-Digest`` and ``Content-Digest`` (RFC 9530), ``Digest`` (RFC 3230), ``Content-MD5``,
    ``x-amz-checksum-sha256`` and ``-sha1``, and the md5 of ``x-goog-hash``.
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
        except binascii.Error:
            continue  # such as the digest of digests of a file uploaded in parts
