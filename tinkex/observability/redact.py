"""Hides credentials in text that is logged, raised or sent."""

from __future__ import annotations

import re
from collections.abc import Iterable

HIDDEN = "[hidden]"
SHORTEST = 8
"""Secrets with fewer characters are not hidden, because they also occur in ordinary words."""

# Keys start with ``tml-`` and JWTs with ``eyJ``, at the start of a word (so "html-" does not match) or after
# an escaped line break, as ``repr`` and JSON write it. A match ends before a quote, so that JSON stays valid.
_CREDENTIAL = re.compile(r"""(?:(?<![A-Za-z0-9])|(?<=\\[nrt]))(?:tml-|eyJ)[^\s"'\\<>]{4,}""")


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return ``text`` with every secret in ``secrets``, and every word that looks like a key or JWT, hidden."""
    for secret in secrets:
        if len(secret) >= SHORTEST:
            text = text.replace(secret, HIDDEN)
    return _CREDENTIAL.sub(HIDDEN, text)
