"""Dataclass fields that hold messages of several classes, told apart by their ``type``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from typing import Any

from tinkex.types.message import Message


def tagged(base: type[Message], kinds: Iterable[type[Any]], **options: Any) -> Any:
    """Return a dataclass field that holds a message of one of the classes ``kinds``.

    Each of the classes has its ``type`` as a class default. A type that none of them has, which a newer server
    may send, is read as ``base``. ``options`` are those of ``dataclasses.field``.
    """
    by_type = {kind.type: kind for kind in kinds}

    def read(value: Any) -> Message:
        if isinstance(value, base):  # the default
            return value
        named = value.get("type") if isinstance(value, dict) else None
        kind = by_type.get(named, base) if isinstance(named, str) else base
        message: Message = kind.from_dict(value)
        return message

    # This is what ``dataclasses_json.config(decoder=...)`` returns, without importing that library yet.
    return field(metadata={"dataclasses_json": {"decoder": read}}, **options)
