"""The log of steps: rows that are run again replace those before, and half a line is no row."""

from __future__ import annotations

from pathlib import Path

from tinkex.finetune.step_log import StepLog


def test_rows_are_kept_rewound_and_read_again(tmp_path: Path) -> None:
    log = StepLog(tmp_path / "log.jsonl")
    for step in range(1, 5):
        log.append({"step": step, "loss": 1 / step})
    log.append({"step": 3, "loss": 7.0})  # step 3 is run again
    assert [row["step"] for row in log.rows] == [1, 2, 3]
    assert StepLog(log.path).rows == log.rows
    assert log.rows[-1]["loss"] == 7.0
    log.rewind(1)
    assert [row["step"] for row in StepLog(log.path).rows] == [1]


def test_a_line_that_was_written_in_part_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2, "lo')
    log = StepLog(path)
    assert log.rows == [{"step": 1}]
    log.rewind(1)
    log.append({"step": 2})
    assert path.read_text("utf-8") == '{"step": 1}\n{"step": 2}\n'
