"""Fingerprints: short digests by which a repetition of a request is told from another request."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np


def fingerprint(kind: str, content: Any) -> bytes:
    """Return the digest of a request of type ``kind``.

    ``content`` is what the request asks for: a JSON document, or a dataclass that was read from the body.
    A dataclass should have tokens and tensors as arrays, so that a request has the same fingerprint in
    proto and in JSON, and large payloads are not written out as text.
    """
    text = json.dumps([kind, content], sort_keys=True, default=_plain)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _plain(value: Any) -> Any:
    """Return an array or a dataclass as a value that JSON can express."""
    if isinstance(value, np.ndarray):
        data = hashlib.blake2b(np.ascontiguousarray(value).data, digest_size=16)
        return [value.dtype.str, value.shape, data.hexdigest()]
    return vars(value)
