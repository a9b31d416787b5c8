"""A file of JSON lines, one for each step, that is rewound when steps are run again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


class StepLog:
    """Rows with a rising ``step``, kept in memory and in a file.

    A row may be lost if the machine stops. A line that was written in part when the process was killed is left out
    when the file is read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        for line in path.read_bytes().split(b"\n") if path.exists() else []:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict) and isinstance(row.get("step"), int):
                self.rows.append(row)

    def rewind(self, step: int) -> None:
        """Remove the rows of the steps after ``step``, here and in the file."""
        self.rows = [row for row in self.rows if row["step"] <= step]
        draft = self.path.with_name(f".{self.path.name}.new")
        draft.write_text("".join(map(_line, self.rows)), encoding="utf-8")
        os.replace(draft, self.path)

    def append(self, row: dict[str, Any]) -> None:
        """Add a row. Rows of the same step and of later ones are removed first."""
        if self.rows and self.rows[-1]["step"] >= row["step"]:
            self.rewind(row["step"] - 1)
        self.rows.append(row)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(_line(row))


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row) + "\n"
