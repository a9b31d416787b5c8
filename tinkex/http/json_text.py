"""The one parser of the JSON that servers send."""

from __future__ import annotations

import json
import re
from typing import Any

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(content: bytes | str) -> Any:
    """Return the value of a JSON document. This parser reads all JSON that servers send.

    Raises ``ValueError`` if the document is not valid: text that is not UTF-8, half of a surrogate pair,
    an integer of thousands of digits, or nesting that is deeper than the parser can follow. ``NaN`` and
    ``Infinity`` are read as floats; where a number must be finite, the reader of the field checks that.
    """
    try:
        text = content.decode("utf-8") if isinstance(content, bytes) else content
        value = json.loads(text)
        if "\\" in text and _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (RecursionError, MemoryError) as error:
        raise ValueError(f"JSON that cannot be read: {type(error).__name__}") from None
    return value
