"""The file of stored logins, which the official tool uses too. ``tinkex.config`` reads the default key from it.

Its content is ``{"version": 1, "default": ID, "keys": {ID: {"type": "manual", "key": ..., "name": ...}}}``.
"""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from typing import Any

from tinkex.cli.failures import CallFailed
from tinkex.config import credentials_path

Record = dict[str, Any]


def default() -> tuple[str, Record] | None:
    """Return the id and the record of the default key, or None if there is none."""
    stored = _read()
    key_id = stored["default"]
    record = stored["keys"].get(key_id)
    return None if record is None else (key_id, record)


def add(key_id: str, record: Record) -> None:
    """Store a key and make it the default."""
    stored = _read()
    stored["keys"][key_id] = record
    _write({**stored, "default": key_id})


def remove(key_id: str) -> None:
    """Remove the key ``key_id``, which is the default. No other key becomes the default."""
    stored = _read()
    del stored["keys"][key_id]
    _write({**stored, "default": None})


def _read() -> dict[str, Any]:
    path = credentials_path()
    try:
        stored = json.loads(path.read_text("utf-8"))
        if stored["version"] != 1:
            raise CallFailed(f"{path} was written by a newer tool; use that, or set TINKER_API_KEY")
        return {"version": 1, "default": stored.get("default"), "keys": dict(stored.get("keys", {}))}
    except FileNotFoundError:
        return {"version": 1, "default": None, "keys": {}}
    except (ValueError, TypeError, KeyError):
        # The damaged content may contain a key, so the message does not show it.
        raise CallFailed(f"{path} is damaged; delete it and log in again") from None


def _write(stored: dict[str, Any]) -> None:
    """Replace the file atomically. Only its owner can read it at any time."""
    path = credentials_path()
    if stored["default"] is None:
        del stored["default"]
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True)
        path.parent.chmod(0o700)
    number, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # with mode 0600
    try:
        with os.fdopen(number, "w", encoding="utf-8") as file:
            json.dump(stored, file, indent=2)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
