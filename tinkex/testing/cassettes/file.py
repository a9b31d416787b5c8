"""The file of a cassette: requests and their answers as JSON."""

from __future__ import annotations

import base64
import binascii
import json
import os
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tinkex.errors import TinkerError
from tinkex.testing.cassettes.matching import Key
from tinkex.testing.cassettes.scrubbing import Scrubber

VERSION = 1


class CassetteError(TinkerError):
    """A request is not on the cassette, or a cassette cannot be read."""


class Recorded(NamedTuple):
    """A request and its answer. The body is text, or bytes in base64."""

    key: Key
    status: int
    headers: dict[str, str]
    body: Any
    encoding: Literal["json", "text", "base64"]


def write(path: Path, recorded: list[Recorded], scrubber: Scrubber) -> None:
    """Write the file, without what ``scrubber`` knows as secret. It appears as a whole or not at all."""
    document = {
        "tinkex_cassette": VERSION,
        "interactions": [
            {
                "request": {"place": each.key.place, "content": each.key.content, "ids": each.key.ids},
                "answer": {
                    "status": each.status,
                    "headers": each.headers,
                    each.encoding: each.body,
                },
            }
            for each in _without_waiting(recorded)
        ],
    }
    # Scrubbed once more as a whole: a key may have been in use only after it was repeated in an answer.
    text = scrubber.text(json.dumps(document, indent=1, ensure_ascii=False))
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def read(path: Path) -> list[Recorded]:
    """Read the file. Raises ``CassetteError`` if it is missing or no cassette."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["tinkex_cassette"] != VERSION:
            raise ValueError(f"its version is {document['tinkex_cassette']}, not {VERSION}")
        recorded = [_read(each) for each in document["interactions"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CassetteError(f"{path} is no cassette that can be played: {error}") from error
    return recorded


def _read(each: Any) -> Recorded:
    answer, request = each["answer"], each["request"]
    for encoding in ("json", "text", "base64"):
        if encoding in answer:
            if encoding == "base64":
                try:
                    base64.b64decode(answer[encoding], validate=True)
                except binascii.Error as error:
                    raise ValueError(f"a body is no base64: {error}") from None
            key = Key(str(request["place"]), str(request["content"]), str(request["ids"]))
            return Recorded(key, int(answer["status"]), dict(answer["headers"]), answer[encoding], encoding)
    raise ValueError("an answer has no body")


def _without_waiting(recorded: list[Recorded]) -> list[Recorded]:
    """Leave out the polls that were answered "not yet" because the work was being done, if a result followed."""
    finished = {each.key for each in recorded if not _waits(each)}
    return [each for each in recorded if not (_waits(each) and each.key in finished)]


def _waits(each: Recorded) -> bool:
    body = each.body if isinstance(each.body, dict) else {}
    return (
        each.key.place == "POST /retrieve_future"
        and body.get("type") == "try_again"
        and body.get("queue_state") in (None, "active")
    )
