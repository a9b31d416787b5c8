"""Fingerprints: short digests that tell whether two requests ask for the same."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np


def fingerprint(kind: str, content: Any) -> bytes:
    """The digest of a request of type ``kind``.

    ``content`` is what the request says: a JSON document, or a dataclass of what was read from the body. Tokens and
    tensors should come as arrays in the latter: then a request has the same fingerprint in proto and in JSON, and
    large payloads are not written out as text.
    """
    text = json.dumps([kind, content], sort_keys=True, default=_plain)
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _plain(value: Any) -> Any:
    """An array or a dataclass as something that JSON can express."""
    if isinstance(value, np.ndarray):
        data = hashlib.blake2b(np.ascontiguousarray(value).data, digest_size=16)
        return [value.dtype.str, value.shape, data.hexdigest()]
    return vars(value)
