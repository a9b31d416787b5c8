"""Messages of several kinds that their ``type`` tells apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from typing import Any

from tinkex.types.message import Message


def tagged(base: type[Message], kinds: Iterable[type[Any]], **options: Any) -> Any:
    """A dataclass field that holds one of ``kinds``, each with its ``type`` as a default.

    A type that none of them has, as a newer server may send, is read as ``base``. ``options`` as of
    ``dataclasses.field``.
    """
    by_type = {kind.type: kind for kind in kinds}

    def read(value: Any) -> Message:
        named = value.get("type") if isinstance(value, dict) else None
        kind = by_type.get(named, base) if isinstance(named, str) else base
        message: Message = kind.from_dict(value)
        return message

    # What ``dataclasses_json.config(decoder=...)`` makes, without importing it yet.
    return field(metadata={"dataclasses_json": {"decoder": read}}, **options)
