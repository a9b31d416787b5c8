"""The folder of a run: it goes on with the same settings only."""

from __future__ import annotations

from pathlib import Path

import pytest

import tinkex
from tinkex.finetune.run_folder import RunFolder, start_of
from tinkex.recovery import Checkpoint


def test_a_run_goes_on_with_the_same_settings_only(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "a" / "b")
    folder.open({"seed": 1, "rate": 0.1}, anew=False)
    folder.journal.write_text("journal", "utf-8")
    folder.metrics.append({"step": 1})
    folder.remember(trackers={"wandb": "w"})

    again = RunFolder(folder.path)
    again.open({"seed": 1, "rate": 0.1}, anew=False)
    assert again.trackers == {"wandb": "w"}
    assert again.saved is None
    assert again.metrics.rows == [{"step": 1}]
    with pytest.raises(tinkex.InputError, match=r"seed was 1, now 2.*--resume never"):
        RunFolder(folder.path).open({"seed": 2, "rate": 0.1}, anew=False)

    anew = RunFolder(folder.path)
    anew.open({"seed": 2}, anew=True)
    assert not folder.journal.exists()
    assert anew.metrics.rows == []
    assert anew.trackers == {}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"settings": 1}'])
def test_a_file_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text, "utf-8")
    with pytest.raises(tinkex.InputError, match="is not the file of a run"):
        RunFolder(tmp_path).open({}, anew=False)


def test_where_a_run_starts(tmp_path: Path) -> None:
    assert start_of("tinker://r/weights/sums-000020") == Checkpoint(20, "tinker://r/weights/sums-000020")
    assert start_of("tinker://r/weights/other") == Checkpoint(0, "tinker://r/weights/other")
    RunFolder(tmp_path).checkpoints.append({"step": 7, "path": "tinker://r/weights/x"})
    assert start_of(str(tmp_path)) == Checkpoint(7, "tinker://r/weights/x")
    with pytest.raises(tinkex.InputError, match="neither auto nor never"):
        start_of("sometimes")
