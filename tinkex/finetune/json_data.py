"""Reads JSON: one value for each line, or one array, with the line of each value."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

from tinkex.finetune.records import BadRecord, Place, Value

_SPACE = re.compile(r"\s*")


def is_lines(data: bytes) -> bool:
    """Return whether JSON data is one value for each line, and not one value over several lines or an array."""
    first, _, rest = data.strip().partition(b"\n")
    if first.startswith(b"["):
        return bool(rest) and is_json(first)
    return not rest or is_json(first) or not is_json(data)


def is_json(data: bytes) -> bool:
    """Return whether ``data`` is one JSON value."""
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def lines(name: str, data: bytes) -> Iterator[Value]:
    """Yield the values of the lines that are not blank."""
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            yield Place(name, number), parse(line.decode("utf-8").strip())
        except UnicodeDecodeError as error:
            yield Place(name, number), BadRecord(f"not UTF-8 text (byte {error.start + 1} of the line)")
        except BadRecord as reason:
            yield Place(name, number), reason


def array(name: str, text: str) -> Iterator[Value]:
    """Yield the elements of a JSON array one by one, so that each has its line, until one is not JSON."""
    decoder = _decoder()
    at = _skip(text, text.index("[") + 1)
    line, counted = 1, 0
    for item in itertools.count(1):
        line, counted = line + text.count("\n", counted, at), at
        place = Place(name, line, item=item)
        if text[at : at + 1] == "]" and item == 1:
            break
        try:
            value, at = decoder.raw_decode(text, at)
        except BadRecord as reason:
            # The decoder has not said where the element ends, so that the rest of the file is lost.
            yield place, reason
            return
        except json.JSONDecodeError as error:
            line += text.count("\n", counted, error.pos)
            yield Place(name, line), BadRecord(_not_json(text, error))
            return
        except RecursionError:
            yield place, BadRecord("not JSON that can be read: it is nested too deeply")
            return
        except ValueError as error:
            yield place, BadRecord(f"not JSON that can be read: {error}")
            return
        yield place, value
        at = _skip(text, at)
        if text[at : at + 1] == "]":
            break
        if text[at : at + 1] != ",":
            line += text.count("\n", counted, at)
            what = "it ends before the array is closed" if at == len(text) else "expected ',' or ']'"
            yield Place(name, line), BadRecord(f"not JSON: {what}")
            return
        at = _skip(text, at + 1)
    rest = _skip(text, at + 1)
    if rest < len(text):
        yield Place(name, text.count("\n", 0, rest) + 1), BadRecord("not JSON: there is more after the array")


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return at if match is None else match.end()


def parse(text: str) -> object:
    """Return the value of a JSON text. Raises ``BadRecord``, also for NaN and for a key that occurs twice."""
    try:
        return _decoder().decode(text)
    except json.JSONDecodeError as error:
        raise BadRecord(_not_json(text, error)) from None
    except RecursionError:
        raise BadRecord("not JSON that can be read: it is nested too deeply") from None
    except BadRecord:
        raise
    except ValueError as error:  # a number with too many digits
        raise BadRecord(f"not JSON that can be read: {error}") from None


def _decoder() -> json.JSONDecoder:
    return json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refused)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for at, (key, _) in enumerate(pairs) if key in dict(pairs[:at]))
        raise BadRecord(f"has the key {twice!r:.40} twice")
    return found


def _refused(constant: str) -> object:
    raise BadRecord(f"has {constant}, which is not JSON")


def _not_json(text: str, error: json.JSONDecodeError) -> str:
    if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string"):
        return f"not JSON: it ends in the middle ({error.msg}, column {error.colno})"
    return f"not JSON ({error.msg}, column {error.colno})"
