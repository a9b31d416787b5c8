"""The three kinds of examples that a data file may hold, and the checks of one example as it was read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ROLES = ("system", "developer", "user", "assistant", "tool")
_KINDS = (("messages",), ("prompt", "completion"), ("text",))
KEYS = frozenset(key for kind in _KINDS for key in kind)
"""The keys of JSON objects, and the columns of tables, that have examples."""


class DataError(ValueError):
    """A file that cannot be learned from. The message is one line that names the file and the reason."""


class BadRecord(ValueError):
    """A record that cannot be learned from. The message is the reason, without the place."""


@dataclass(frozen=True)
class Place:
    """Where a record is: a file and a line, or a row of a file that has no lines. Both count from 1.

    An element of an array is also named by its number ``item``, since one line may have several.
    """

    file: str
    number: int
    unit: str = "line"
    item: int | None = None

    def __str__(self) -> str:
        item = "" if self.item is None else f", item {self.item}"
        return f"{self.file}, {self.unit} {self.number}{item}"


Value = tuple[Place, "object | BadRecord"]
"""A decoded value and its place, or the reason why it cannot be decoded."""


@dataclass(frozen=True)
class Chat:
    """A conversation. The content of a message is text, or None beside tool calls."""

    messages: list[dict[str, Any]]
    tools: list[Any] | None = None


@dataclass(frozen=True)
class Completion:
    """A prompt and its completion, which follows it without a space between."""

    prompt: str
    completion: str


@dataclass(frozen=True)
class Text:
    """A text, all of which is learned."""

    text: str


Record = Chat | Completion | Text


@dataclass(frozen=True)
class Row:
    """A record and its place in the data."""

    place: Place
    record: Record


@dataclass
class BadRecords:
    """The records that were left out, each as one line that names the place and the reason."""

    lines: list[str] = field(default_factory=list)

    def add(self, place: Place, reason: object) -> None:
        """Add the record at ``place``."""
        text = " ".join(str(reason).split())
        self.lines.append(f"{place}: {text if len(text) <= 300 else text[:300] + '…'}")

    def __len__(self) -> int:
        return len(self.lines)


def record(value: object) -> Record:
    """Return the record that a decoded JSON object, or a row of a table, holds.

    Values that are None count as missing where another kind of record is complete. Raises ``BadRecord``.
    """
    if not isinstance(value, Mapping):
        raise BadRecord(
            f"is {_named(value)}, not an object with 'messages', 'prompt' and 'completion', or 'text'"
        )
    whole = [kind for kind in _KINDS if all(value.get(key) is not None for key in kind)]
    if len(whole) > 1:
        names = " and ".join(repr(kind[-1]) for kind in whole)
        raise BadRecord(f"has both {names}, which are two kinds of example: leave one out")
    if not whole:
        raise BadRecord(_what_is_missing(value))
    if whole[0] == ("messages",):
        return _chat(value)
    if whole[0] == ("text",):
        return Text(_filled(value, "text"))
    prompt = _text("'prompt'", value["prompt"])
    return Completion(prompt, _filled(value, "completion"))


def _what_is_missing(value: Mapping[Any, Any]) -> str:
    for key in ("messages", "prompt", "completion", "text"):
        if key in value and value[key] is None:
            return f"'{key}' is null"
    for key, other in (("prompt", "completion"), ("completion", "prompt")):
        if key in value:
            return f"has a '{key}' and no '{other}'"
    found = ", ".join(repr(str(key)) for key in list(value)[:5]) or "nothing"
    return f"needs 'messages', 'prompt' and 'completion', or 'text'; it has {found}"


def _chat(value: Mapping[Any, Any]) -> Chat:
    messages = value["messages"]
    if not isinstance(messages, list):
        raise BadRecord(f"'messages' is {_named(messages)}, not a list")
    if not messages:
        raise BadRecord("'messages' is empty")
    tools = value.get("tools")
    if tools is not None and not isinstance(tools, list):
        raise BadRecord(f"'tools' is {_named(tools)}, not a list")
    return Chat([_message(number, each) for number, each in enumerate(messages, 1)], tools or None)


def _message(number: int, message: object) -> dict[str, Any]:
    name = f"message {number}"
    if not isinstance(message, Mapping):
        raise BadRecord(f"{name} is {_named(message)}, not an object")
    role = message.get("role")
    if role is None:
        raise BadRecord(f"{name} has no 'role'")
    if role not in ROLES:
        raise BadRecord(f"{name} has the unknown role {role!r:.40}: use one of {', '.join(ROLES)}")
    # A table has every key in every row, so that a value of None says nothing.
    found = {str(key): each for key, each in message.items() if each is not None}
    if "content" not in found:
        if role == "assistant" and found.get("tool_calls"):
            return {**found, "content": None}
        raise BadRecord(f"{name}: 'content' is {'null' if 'content' in message else 'missing'}")
    found["content"] = _content(f"{name}: 'content'", found["content"])
    if role == "assistant" and not found["content"] and not found.get("tool_calls"):
        raise BadRecord(f"{name}: the assistant says nothing ('content' is empty)")
    return found


def _content(name: str, content: object) -> str:
    """Return the text of a message, which may be given as a list of parts of text."""
    if not isinstance(content, list):
        return _text(name, content)
    parts = []
    for part in content:
        if not isinstance(part, Mapping):
            raise BadRecord(f"{name} has a part that is {_named(part)}, not an object")
        if part.get("type") != "text":
            raise BadRecord(f"{name} has a part of type {part.get('type')!r:.40}; only text can be learned")
        parts.append(_text(f"{name}: 'text' of a part", part.get("text")))
    return "".join(parts)


def _filled(value: Mapping[Any, Any], key: str) -> str:
    text = _text(f"'{key}'", value[key])
    if not text:
        raise BadRecord(f"'{key}' is empty")
    return text


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise BadRecord(f"{name} is {_named(value)}, not text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise BadRecord(f"{name} has half of a surrogate pair (\\ud800 to \\udfff)") from None
    return value


def _named(value: object) -> str:
    """Return the kind of a value in the words of JSON."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    kinds = (
        (str, "text"),
        (bytes, "bytes"),
        ((int, float), "a number"),
        (list, "a list"),
        (Mapping, "an object"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), f"a {type(value).__name__}")
