"""The folder of a run: its settings, its journal and its metrics, from which the run goes on after it was killed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinkex.errors import InputError
from tinkex.finetune.step_log import StepLog
from tinkex.recovery import Checkpoint

_STEP = re.compile(r"-(\d{6,})$")


class RunFolder:
    """The files of one run. Only one process may use a folder at a time.

    ``run.json`` has the settings of the run, ``journal.json`` its last checkpoint, ``metrics.jsonl`` a row for each
    step and ``checkpoints.jsonl`` the paths of all checkpoints.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal: Path = path / "journal.json"
        self._file = path / "run.json"
        self._state: dict[str, Any] = {}

    @property
    def metrics(self) -> StepLog:
        """The log of metrics, as it is in the file."""
        return StepLog(self.path / "metrics.jsonl")

    @property
    def checkpoints(self) -> StepLog:
        """The log of checkpoints, as it is in the file."""
        return StepLog(self.path / "checkpoints.jsonl")

    @property
    def saved(self) -> dict[str, Any] | None:
        """What was saved at the end of the run, or None if it has not ended."""
        found: dict[str, Any] | None = self._state.get("saved")
        return found

    @property
    def trackers(self) -> dict[str, str]:
        """The ids of the run with the trackers, by their names."""
        return dict(self._state.get("trackers", {}))

    def open(self, settings: Mapping[str, Any], *, anew: bool) -> None:
        """Make the folder, or go on with the run in it, which must have the same settings.

        With ``anew``, the run in it is forgotten. Raises ``InputError`` if the folder has a run with other settings.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        wanted = json.loads(json.dumps(settings))
        found = None if anew else self._read()
        if found is None:
            for file in (self.journal, self.metrics.path, self.checkpoints.path):
                file.unlink(missing_ok=True)
            self._state = {"settings": wanted}
            self._write()
            return
        before = found["settings"]
        differ = sorted(key for key in {*before, *wanted} if before.get(key) != wanted.get(key))
        if differ:
            changes = ", ".join(
                f"{key} was {before.get(key)!r:.60}, now {wanted.get(key)!r:.60}" for key in differ
            )
            raise InputError(
                f"{self.path} has a run with other settings ({changes}): give another --save or --log-dir, or "
                "--resume never to start anew"
            )
        self._state = found

    def remember(self, **values: Any) -> None:
        """Add values such as ``saved`` to the file of the run."""
        self._state.update(values)
        self._write()

    def _read(self) -> dict[str, Any] | None:
        try:
            found = json.loads(self._file.read_text("utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            found = None
        if not isinstance(found, dict) or not isinstance(found.get("settings"), dict):
            raise InputError(f"{self._file} is not the file of a run: give another --log-dir")
        return found

    def _write(self) -> None:
        draft = self._file.with_name(".run.json.new")
        draft.write_text(json.dumps(self._state, indent=2), encoding="utf-8")
        os.replace(draft, self._file)


def start_of(resume: str) -> Checkpoint:
    """Return the checkpoint that ``resume`` names: a path ``tinker://…``, or the folder of a run.

    The number of its step is the number at the end of its name, as ``tinkex train`` gives it, or else 0. Raises
    ``InputError`` if there is none.
    """
    if "://" in resume:
        found = _STEP.search(resume)
        return Checkpoint(int(found[1]) if found else 0, resume)
    rows = RunFolder(Path(resume)).checkpoints.rows
    if not rows:
        raise InputError(
            f"--resume {resume}: neither auto nor never, nor a checkpoint, nor a folder of a run with one"
        )
    return Checkpoint(rows[-1]["step"], rows[-1]["path"])
