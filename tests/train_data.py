"""Small files to train on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SUMS = [(f"What is {at} plus one?", f"It is {at + 1}.") for at in range(24)]


def write_chats(path: Path, pairs: Sequence[tuple[str, str]]) -> str:
    """Write a conversation for each question and answer; return the path as text."""
    return write_lines(
        path,
        [
            {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
            for question, answer in pairs
        ],
    )


def write_lines(path: Path, records: Sequence[Any]) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)
