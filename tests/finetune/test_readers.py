"""Data files: every format becomes the same records, and every malformed file one clear line."""

from __future__ import annotations

import csv
import importlib
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex.finetune import readers
from tinkex.finetune.records import BadRecords, Chat, Completion, DataError, Record, Text

CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
RECORDS: list[dict[str, Any]] = [
    {"messages": CHAT},
    {"prompt": "a?", "completion": " b"},
    {"text": 'plain\nlines, "quoted" and é'},
]
EXPECTED: list[Record] = [
    Chat([dict(message) for message in CHAT]),
    Completion("a?", " b"),
    Text('plain\nlines, "quoted" and é'),
]

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


def read(path: Path) -> list[Record]:
    bad = BadRecords()
    rows = readers.read([str(path)], bad)
    assert bad.lines == []
    return [row.record for row in rows]


def as_lines(records: list[dict[str, Any]]) -> str:
    return "\n".join(json.dumps(record) for record in records) + "\n"


def as_csv(records: list[dict[str, Any]], delimiter: str = ",") -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, ["text", "prompt", "id", "completion", "messages"], delimiter=delimiter)
    writer.writeheader()
    for record in records:
        writer.writerow(
            {**record, **({"messages": json.dumps(record["messages"])} if "messages" in record else {})}
        )
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("data.jsonl", as_lines),
        ("data.ndjson", as_lines),
        ("data.json", as_lines),
        ("data.txt", as_lines),
        ("crlf.jsonl", lambda records: as_lines(records).replace("\n", "\r\n\r\n")),
        ("bom.jsonl", lambda records: "\ufeff" + as_lines(records)),
        ("data.json", json.dumps),
        ("pretty.json", lambda records: json.dumps(records, indent=2)),
        ("array.jsonl", lambda records: json.dumps(records, indent=2)),
        ("data", json.dumps),
        ("data.csv", as_csv),
        ("bom.csv", lambda records: "\ufeff" + as_csv(records)),
        ("data", as_csv),
        ("semicolons.csv", lambda records: as_csv(records, ";")),
        ("data.tsv", lambda records: as_csv(records, "\t")),
    ],
)
def test_every_format_gives_the_same_records(
    tmp_path: Path, name: str, make: Callable[[list[dict[str, Any]]], str]
) -> None:
    path = tmp_path / name
    path.write_bytes(make(RECORDS).encode("utf-8"))
    assert read(path) == EXPECTED


def test_one_object_over_several_lines_is_one_record(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    path.write_text(json.dumps(RECORDS[0], indent=2), "utf-8")
    assert read(path) == EXPECTED[:1]


def test_parquet(tmp_path: Path) -> None:
    parquet: Any = importlib.import_module("pyarrow.parquet")
    pyarrow: Any = importlib.import_module("pyarrow")
    every_key = dict.fromkeys(("messages", "prompt", "completion", "text"))
    path = tmp_path / "data.parquet"
    parquet.write_table(pyarrow.Table.from_pylist([{**every_key, **each, "id": 1} for each in RECORDS]), path)
    assert read(path) == EXPECTED
    (tmp_path / "no.parquet").write_bytes(b"PAR1 and nothing more")
    fails(tmp_path / "no.parquet", "no.parquet is not a Parquet file")
    parquet.write_table(pyarrow.table({"question": ["x"]}), tmp_path / "other.parquet")
    fails(tmp_path / "other.parquet", "it has 'question'")
    parquet.write_table(pyarrow.table({"text": ["x", None, "y"]}), tmp_path / "null.parquet")
    bad = BadRecords()
    assert len(readers.read([str(tmp_path / "null.parquet")], bad)) == 2
    assert bad.lines == [f"{tmp_path / 'null.parquet'}, row 2: 'text' is null"]


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    (tmp_path / "data.parquet").write_bytes(b"PAR1")
    fails(tmp_path / "data.parquet", "pip install pyarrow")


def test_several_files_and_standard_input(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(as_lines(RECORDS[:1]), "utf-8")
    rows = readers.read([str(path), "-"], BadRecords(), stdin=io.BytesIO(as_csv(RECORDS[1:]).encode()))
    assert [row.record for row in rows] == EXPECTED
    assert [str(row.place) for row in rows] == [
        f"{path}, line 1",
        "standard input, line 2",
        "standard input, line 3",
    ]


def fails(path: Path, words: str) -> None:
    with pytest.raises(DataError) as caught:
        readers.read([str(path)], BadRecords())
    message = str(caught.value)
    assert words in message
    assert path.name in message
    assert "\n" not in message


WHOLE_FILES: dict[str, tuple[bytes, str]] = {
    "empty.jsonl": (b"", "is empty"),
    "blank.jsonl": (b"\n \n\n", "no text in it"),
    "nothing.json": (b" [ ] ", "no records"),
    "only-header.csv": (b"prompt,completion\n", "no records"),
    "utf16.jsonl": ('{"text": "a"}'.encode("utf-16"), "UTF-16"),
    "utf16-no-bom.jsonl": ('{"text": "a"}'.encode("utf-16-le"), "not UTF-8"),
    "binary.bin": (bytes(range(256)), "not UTF-8"),
    "packed.jsonl": (b"\x1f\x8b\x08\x00", "compressed with gzip"),
    "sheet.csv": (b"PK\x03\x04xxxx", "spreadsheet"),
    "parquet.jsonl": (b"PAR1xxxx", "ends in .parquet"),
    "prose.txt": (b"Once upon a time\nthere was\n", "neither JSON lines"),
    "no-header.csv": (b"Hello,World\nA,B\n", "line 1: not a header"),
    "twice.csv": (b"text,text\na,b\n", "the column 'text' is there twice"),
    "latin1.csv": (b"text\ncaf\xe9\n", "line 2: not UTF-8"),
    "latin1.json": (b'[{"text": "a"},\n{"text": "caf\xe9"}]', "line 2: not UTF-8"),
}


@pytest.mark.parametrize("name", WHOLE_FILES)
def test_a_file_that_is_no_data_is_one_clear_line(tmp_path: Path, name: str) -> None:
    data, words = WHOLE_FILES[name]
    (tmp_path / name).write_bytes(data)
    fails(tmp_path / name, words)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    fails(tmp_path, "is a folder")
    fails(tmp_path / "none.jsonl", "No such file")
    (tmp_path / "folder.parquet").mkdir()
    with pytest.raises(DataError, match=r"folder\.parquet"):
        readers.read([str(tmp_path / "folder.parquet")], BadRecords())
    secret = tmp_path / "secret.jsonl"
    secret.write_text("x", "utf-8")
    secret.chmod(0)
    if not os.access(secret, os.R_OK):  # root may read everything
        fails(secret, "Permission denied")


GOOD = '{"text": "good"}'
BAD_LINES: dict[str, tuple[str, str]] = {
    "truncated": ('{"text": "abc', "it ends in the middle"),
    "cut after a key": ('{"text"', "it ends in the middle"),
    "not JSON": ("hello", "not JSON"),
    "two values": ('{"text": "a"} {"text": "b"}', "not JSON"),
    "single quotes": ("{'text': 'a'}", "not JSON"),
    "NaN": ('{"text": "a", "weight": NaN}', "NaN, which is not JSON"),
    "infinity": ('{"text": -Infinity}', "-Infinity"),
    "many digits": ('{"text": ' + "1" * 5000 + "}", "cannot be learned|digits|number"),
    "deep": ("[" * 100_000, "nested too deeply|ends in the middle"),
    "a key twice": ('{"text": "a", "text": "b"}', "the key 'text' twice"),
    "a list": ("[1]", "is a list, not an object"),
    "text": ('"text"', "is text, not an object"),
    "null": ("null", "is null"),
    "no keys": ("{}", "it has nothing"),
    "other keys": ('{"question": "a", "answer": "b"}', "it has 'question', 'answer'"),
    "no completion": ('{"prompt": "a"}', "no 'completion'"),
    "no prompt": ('{"completion": "a"}', "no 'prompt'"),
    "null text": ('{"text": null}', "'text' is null"),
    "null completion": ('{"prompt": "a", "completion": null}', "'completion' is null"),
    "number": ('{"text": 5}', "'text' is a number"),
    "empty text": ('{"text": ""}', "'text' is empty"),
    "empty completion": ('{"prompt": "a", "completion": ""}', "'completion' is empty"),
    "nested prompt": ('{"prompt": {"a": 1}, "completion": "b"}', "'prompt' is an object"),
    "two kinds": ('{"text": "a", "messages": [{"role": "user", "content": "x"}]}', "two kinds"),
    "half a surrogate": ('{"text": "\\ud800"}', "surrogate"),
    "messages as text": ('{"messages": "hello"}', "'messages' is text"),
    "no messages": ('{"messages": []}', "'messages' is empty"),
    "a message as text": ('{"messages": ["hello"]}', "message 1 is text"),
    "no role": ('{"messages": [{"content": "x"}]}', "message 1 has no 'role'"),
    "unknown role": ('{"messages": [{"role": "bot", "content": "x"}]}', "unknown role 'bot'"),
    "a role as list": ('{"messages": [{"role": ["user"], "content": "x"}]}', "unknown role"),
    "null content": ('{"messages": [{"role": "user", "content": null}]}', "'content' is null"),
    "no content": ('{"messages": [{"role": "user"}]}', "'content' is missing"),
    "content as number": ('{"messages": [{"role": "user", "content": 1}]}', "'content' is a number"),
    "silent assistant": ('{"messages": [{"role": "assistant", "content": ""}]}', "says nothing"),
    "an image": (
        '{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]}',
        "part of type 'image_url'",
    ),
    "tools as text": ('{"messages": [{"role": "user", "content": "x"}], "tools": "x"}', "'tools' is text"),
}


@pytest.mark.parametrize("name", BAD_LINES)
def test_a_bad_line_is_named_and_the_others_are_kept(tmp_path: Path, name: str) -> None:
    line, words = BAD_LINES[name]
    path = tmp_path / "data.jsonl"
    path.write_text(f"{GOOD}\n\n{line}\n{GOOD}\n", "utf-8")
    bad = BadRecords()
    assert [row.record for row in readers.read([str(path)], bad)] == [Text("good")] * 2
    assert len(bad) == 1
    assert bad.lines[0].startswith(f"{path}, line 3: ")
    assert any(word in bad.lines[0] for word in words.split("|")), bad.lines
    assert "\n" not in bad.lines[0]
    assert len(bad.lines[0]) < 400 + len(str(path))


def test_a_line_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(b'{"text": "good"}\n{"text": "caf\xe9"}\n')
    bad = BadRecords()
    assert len(readers.read([str(path)], bad)) == 1
    assert bad.lines == [f"{path}, line 2: not UTF-8 text (byte 14 of the line)"]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('[\n{"text": "a"},\n{"text": 1}\n]', 3, "item 2: 'text' is a number"),
        ('[\n{"text": "a"},\n{"text": "b"}', 3, "it ends before the array is closed"),
        ('[\n{"text": "a"}\n{"text": "b"}]', 3, "expected ',' or ']'"),
        ('[\n{"text": "a"},\n{"text": ', 3, "it ends in the middle"),
        ('[{"text": "a"},]', 1, "not JSON"),
        ('[\n{"text": "a"}]\nmore', 3, "more after the array"),
        ('[{"text": "a"},\n {"text": NaN}]', 2, "NaN"),
    ],
)
def test_a_bad_element_of_an_array_is_named(tmp_path: Path, text: str, line: int, words: str) -> None:
    path = tmp_path / "data.json"
    path.write_text(text, "utf-8")
    bad = BadRecords()
    assert len(readers.read([str(path)], bad)) >= 1
    assert len(bad) == 1
    assert bad.lines[0].startswith(f"{path}, line {line}")
    assert words in bad.lines[0]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("prompt,completion\na,b\na\na,b\n", 3, "has 1 cells, and the header has 2"),
        ("prompt,completion\na,b\na,b,c\n", 3, "has 3 cells"),
        ("prompt,completion\na,b\na,\n", 3, "'completion' is empty"),
        ('text\n"a\nb"\n""\n', 4, "'text' is empty"),
        ('text\ngood\n"never closed\n', 3, "not CSV"),
        (
            'messages\n"[{""role"": ""user"", ""content"": ""x""}]"\nhello\n',
            3,
            "the cell 'messages': not JSON",
        ),
    ],
)
def test_a_bad_row_of_a_table_is_named(tmp_path: Path, text: str, line: int, words: str) -> None:
    path = tmp_path / "data.csv"
    path.write_text(text, "utf-8")
    bad = BadRecords()
    assert len(readers.read([str(path)], bad)) >= 1
    assert len(bad) == 1
    assert bad.lines[0].startswith(f"{path}, line {line}: ")
    assert words in bad.lines[0]


def test_a_very_long_line_is_read(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("text\n" + "x" * 1_000_000 + "\n", "utf-8")
    assert read(path) == [Text("x" * 1_000_000)]


def test_content_may_be_in_parts_and_missing_beside_tool_calls(tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": {}}}
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages = [
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": [call]},
    ]
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps({"messages": messages, "prompt": "beside it", "tools": [call]}), "utf-8")
    assert read(path) == [
        Chat(
            [{"role": "user", "content": "ab"}, {"role": "assistant", "content": None, "tool_calls": [call]}],
            [call],
        )
    ]


@given(
    st.lists(st.fixed_dictionaries({"prompt": TEXTS, "completion": TEXTS}), min_size=1),
    st.sampled_from([None, 1]),
)
def test_whatever_is_written_as_json_is_read(records: list[dict[str, str]], indent: int | None) -> None:
    expected = [Completion(**record) for record in records]
    for text in (as_lines(records), json.dumps(records, indent=indent, ensure_ascii=False)):
        rows = readers.read(["-"], BadRecords(), stdin=io.BytesIO(text.encode()))
        assert [row.record for row in rows] == expected


@given(st.lists(st.fixed_dictionaries({"prompt": CELLS, "completion": CELLS}), min_size=1))
def test_whatever_is_written_as_csv_is_read(records: list[dict[str, str]]) -> None:
    out = io.StringIO()
    writer = csv.DictWriter(out, ["prompt", "completion"])
    writer.writeheader()
    writer.writerows(records)
    text = out.getvalue()
    rows = readers.read(["-"], BadRecords(), stdin=io.BytesIO(text.encode()))
    assert [row.record for row in rows] == [Completion(**record) for record in records]


@given(st.binary(max_size=200), st.sampled_from(["a.jsonl", "a.json", "a.csv", "a.txt"]))
def test_any_bytes_are_records_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str
) -> None:
    path = tmp_path_factory.mktemp("any") / name
    path.write_bytes(data)
    bad = BadRecords()
    said = ""
    try:
        readers.read([str(path)], bad)
    except DataError as error:
        said = str(error)
    assert all("\n" not in line for line in [said, *bad.lines])
