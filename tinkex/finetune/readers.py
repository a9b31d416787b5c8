"""Reads data files: JSON lines, JSON arrays, CSV and Parquet. It is the one reader of such files in Tinkex.

The end of the file's name says the format. Of standard input and of files with other names, the first
characters do.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from tinkex.finetune import json_data
from tinkex.finetune.records import KEYS, BadRecord, BadRecords, DataError, Place, Row, Value, record
from tinkex.finetune.tables import DELIMITERS, csv_rows, parquet_rows

STDIN = "-"
"""The name of standard input among the names of files."""


_FORMATS = {
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}
_MAGIC = {
    b"PAR1": "a Parquet file: give it a name that ends in .parquet",
    b"\x1f\x8b": "compressed with gzip: unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: unpack it first",
    b"BZh": "compressed with bzip2: unpack it first",
    b"\xfd7zXZ": "compressed with xz: unpack it first",
    b"PK\x03\x04": "a ZIP archive or a spreadsheet: save the data as CSV or JSON lines first",
}


def read(sources: Iterable[str], bad: BadRecords, *, stdin: io.BufferedIOBase | None = None) -> list[Row]:
    """Return the records of all files, in their order. Records that cannot be learned are added to ``bad``.

    Raises ``DataError`` for a file that has no records, or that cannot be read as data at all.
    """
    rows: list[Row] = []
    for source in sources:
        found = 0
        for place, value in values(source, stdin):
            found += 1
            try:
                if isinstance(value, BadRecord):
                    raise value
                rows.append(Row(place, record(value)))
            except BadRecord as reason:
                bad.add(place, reason)
        if not found:
            raise DataError(f"{_name(source)} has no records in it")
    return rows


def values(source: str, stdin: io.BufferedIOBase | None = None) -> Iterator[Value]:
    """Yield the decoded values of one file, with their places. Raises ``DataError`` as ``read`` does."""
    name, suffix = _name(source), Path(source).suffix.lower()
    form = None if source == STDIN else _FORMATS.get(suffix)
    if form == "parquet":
        yield from parquet_rows(name, Path(source))
        return
    data = contents(source, stdin)
    if form is None:
        form = _sniffed(name, data)
    if form == "csv":
        yield from csv_rows(name, decoded(name, data))
    elif json_data.is_lines(data):
        yield from json_data.lines(name, data)
    elif data.lstrip()[:1] == b"[":
        yield from json_data.array(name, decoded(name, data))
    else:
        yield Place(name, 1), json_data.parse(decoded(name, data))


def has_records(source: str) -> bool:
    """Return whether a file has records, as its name or its first line says, and not plain text.

    Raises ``DataError`` for a file that cannot be read.
    """
    if Path(source).suffix.lower() in _FORMATS:
        return True
    first = contents(source).strip().split(b"\n", 1)[0]
    return first.startswith(b"{") and json_data.is_json(first)


def contents(source: str, stdin: io.BufferedIOBase | None = None) -> bytes:
    """Return the bytes of a text file, without a byte order mark.

    Raises ``DataError`` for a file that cannot be read, is empty, or is no UTF-8 text.
    """
    name = _name(source)
    try:
        data = (stdin or sys.stdin.buffer).read() if source == STDIN else Path(source).read_bytes()
    except IsADirectoryError:
        raise DataError(f"{name} is a folder: name the files in it") from None
    except (OSError, ValueError) as error:
        if Path(source).is_dir():  # which Windows reports as a lack of permission
            raise DataError(f"{name} is a folder: name the files in it") from None
        raise DataError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    for magic, what in _MAGIC.items():
        if data.startswith(magic):
            raise DataError(f"{name} is {what}")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{name} is UTF-16 and not UTF-8 text: convert it first, for example with iconv")
    if b"\0" in data[:8192]:
        raise DataError(f"{name} is not UTF-8 text: it has bytes that are zero")
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.strip():
        raise DataError(f"{name} is empty" if not data else f"{name} has no text in it")
    return data


def decoded(name: str, data: bytes) -> str:
    """Return the text of ``data``. Raises ``DataError``, which names the line, if it is not UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{name}, line {line}: not UTF-8 text: convert the file first, for example with iconv"
        ) from None


def _sniffed(name: str, data: bytes) -> str:
    """Return the format of data whose name says nothing."""
    if data.lstrip()[:1] in (b"{", b"["):
        return "json"
    head = data.split(b"\n", 1)[0].decode("utf-8", errors="replace").strip()
    if any(KEYS & {cell.strip(' "') for cell in head.split(delimiter)} for delimiter in DELIMITERS):
        return "csv"
    raise DataError(
        f"{name} is neither JSON lines nor a JSON array nor CSV with a header; of plain text, put each text into a "
        'line such as {"text": "…"}'
    )


def _name(source: str) -> str:
    return "standard input" if source == STDIN else source
