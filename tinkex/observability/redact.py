"""Hides what looks like a credential in text that someone will read."""

from __future__ import annotations

import re
from collections.abc import Iterable

HIDDEN = "[hidden]"
SHORTEST = 8
"""A "secret" of fewer characters is more likely a part of some innocent word."""

# Keys start with ``tml-``, JWTs with ``eyJ``: at the start of a word (as "html-" is not), or after a line
# break as ``repr`` and JSON write it. They end before a quote, so that JSON stays JSON.
_CREDENTIAL = re.compile(r"""(?:(?<![A-Za-z0-9])|(?<=\\[nrt]))(?:tml-|eyJ)[^\s"'\\<>]{4,}""")


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """``text`` with every one of ``secrets``, and every word in the form of a key or a JWT, hidden."""
    for secret in secrets:
        if len(secret) >= SHORTEST:
            text = text.replace(secret, HIDDEN)
    return _CREDENTIAL.sub(HIDDEN, text)
