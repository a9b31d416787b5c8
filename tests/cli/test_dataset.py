"""Reading a file to learn from: every kind of file becomes examples, or one clear error."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinkex.cli.dataset import (
    LONGEST_LINE,
    Example,
    default_path,
    demonstration,
    find_completion,
    read_examples,
)
from tinkex.finetune.records import DataError


def write(tmp_path: Path, text: str, name: str = "data.txt") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode("utf-8"))
    return path


def test_the_default_data_set_ships_with_the_package() -> None:
    examples = read_examples(default_path())
    assert len(examples) == 24
    assert all(example.prompt and example.completion for example in examples)
    assert len({example.prompt for example in examples}) == 24


@pytest.mark.parametrize("name", ["data.jsonl", "data.txt"])
def test_json_lines_are_told_by_name_or_content(tmp_path: Path, name: str) -> None:
    path = write(
        tmp_path, '{"prompt": "a?", "completion": " b"}\n\n{"prompt": "c?", "completion": " d"}\n', name
    )
    assert read_examples(path) == [Example("a?", " b"), Example("c?", " d")]


def test_plain_lines_are_kept_but_for_blank_ones_and_trailing_space(tmp_path: Path) -> None:
    path = write(tmp_path, "\ufeffdef f():\r\n\r\n    return 'ü'  \n   \n}\n}")
    assert [example.completion for example in read_examples(path)] == ["def f():", "    return 'ü'", "}", "}"]


def test_very_long_lines_are_cut_and_nothing_is_lost(tmp_path: Path) -> None:
    line = "0123456789" * 95
    examples = read_examples(write(tmp_path, line))
    assert "".join(example.completion for example in examples) == line
    assert max(len(example.completion) for example in examples) == LONGEST_LINE


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("d.txt", " \n\n", "no text in it"),
        ("d.jsonl", '{"prompt": "a", "completion": "b"}\n{"prompt": 1, "completion": "b"}', "line 2"),
        ("d.jsonl", '{"prompt": "a"}', "line 1"),
        ("d.jsonl", "[1]", "line 1"),
        ("d.jsonl", "not json", "line 1: not JSON"),
    ],
)
def test_what_cannot_be_learned_names_the_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_examples(write(tmp_path, text, name))


def test_bytes_that_are_not_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.bin"
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(DataError, match="not UTF-8"):
        read_examples(path)


def test_the_demonstration_is_the_opening_of_a_line_that_can_be_continued_in_one_way_only() -> None:
    lines = [
        "shared opening then one end",
        "shared opening then another",
        "    indented and quite unique here",
    ]
    shown = demonstration([Example("", line) for line in lines])
    assert shown.prompt + shown.completion in lines
    assert sum(line.startswith(shown.prompt) for line in lines) == 1


@pytest.mark.parametrize("lines", [["x"], ["}", "}"], ["ab"], ["日本"], ["same line here"] * 3])
def test_there_is_a_demonstration_in_any_file(lines: list[str]) -> None:
    shown = demonstration([Example("", line) for line in lines])
    assert shown.prompt + shown.completion in lines


def test_the_completion_of_a_prompt_is_looked_up() -> None:
    records = [Example("Who?", " Me."), Example("Where?", " Here.")]
    assert find_completion(records, "Where?") == " Here."
    assert find_completion(records, "When?") is None
    assert find_completion([Example("", "a line of text")], "a line") == " of text"
