"""Fingerprints: short digests that tell whether two requests ask for the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np


def fingerprint(kind: str, content: Any) -> bytes:
    """The digest of a request of type ``kind``.

    ``content`` is what the request says: a JSON document, or a dataclass of what was read from the body. Token and
    tensor payloads belong in the latter, as arrays: then a request has the same fingerprint in proto and in JSON,
    and large payloads are not written out as text.
    """
    digest = hashlib.blake2b(kind.encode(), digest_size=16)
    _add(digest, content)
    return digest.digest()


def _add(digest: hashlib.blake2b, content: Any) -> None:
    # Each part is preceded by its type and size, so that no two different contents give the same bytes.
    if isinstance(content, np.ndarray):
        digest.update(f"array {content.dtype.str} {content.shape} ".encode())
        digest.update(np.ascontiguousarray(content).data)
    elif is_dataclass(content):
        names = fields(content)
        digest.update(f"dataclass {len(names)} ".encode())
        for name in names:
            _add(digest, getattr(content, name.name))
    elif isinstance(content, Mapping) and any(isinstance(value, np.ndarray) for value in content.values()):
        digest.update(f"arrays {len(content)} ".encode())
        for key in sorted(content):
            _add(digest, key)
            _add(digest, content[key])
    elif isinstance(content, tuple):
        digest.update(f"tuple {len(content)} ".encode())
        for part in content:
            _add(digest, part)
    else:
        text = json.dumps(content, sort_keys=True).encode()
        digest.update(f"json {len(text)} ".encode())
        digest.update(text)
