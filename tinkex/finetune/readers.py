"""Reads data files: JSON lines, JSON arrays, CSV and Parquet. It is the one reader of such files in Tinkex.

The end of the file's name says the format. Of standard input and of files with other names, the first
characters do.
"""

from __future__ import annotations

import csv
import importlib
import io
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tinkex.finetune.records import KEYS, BadRecord, BadRecords, DataError, Place, Row, record

STDIN = "-"
"""The name of standard input among the names of files."""

Value = tuple[Place, "object | BadRecord"]
"""A decoded value and its place, or the reason why it cannot be decoded."""

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
_SPACE = re.compile(r"\s*")
_DELIMITERS = ",\t;"


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
        yield from _parquet(name, Path(source))
        return
    data = contents(source, stdin)
    if form is None:
        form = _sniffed(name, data)
    if form == "csv":
        yield from _csv(name, decoded(name, data))
    elif _is_lines(data):
        yield from _lines(name, data)
    elif data.lstrip()[:1] == b"[":
        yield from _array(name, decoded(name, data))
    else:
        yield Place(name, 1), parse(decoded(name, data))


def has_records(source: str) -> bool:
    """Return whether a file has records, as its name or its first line says, and not plain text.

    Raises ``DataError`` for a file that cannot be read.
    """
    if Path(source).suffix.lower() in _FORMATS:
        return True
    first = contents(source).strip().split(b"\n", 1)[0]
    return first.startswith(b"{") and _is_json(first)


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


def parse(text: str) -> object:
    """Return the value of a JSON text. Raises ``BadRecord``, also for NaN and for a key that occurs twice."""
    try:
        return _decoder().decode(text)
    except json.JSONDecodeError as error:
        raise BadRecord(_not_json(text, error)) from None
    except RecursionError:
        raise BadRecord("not JSON that can be read: it is nested too deeply") from None
    except BadRecord:
        raise
    except ValueError as error:  # a number with too many digits
        raise BadRecord(f"not JSON that can be read: {error}") from None


def _decoder() -> json.JSONDecoder:
    return json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refused)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for at, (key, _) in enumerate(pairs) if key in dict(pairs[:at]))
        raise BadRecord(f"has the key {twice!r:.40} twice")
    return found


def _refused(constant: str) -> object:
    raise BadRecord(f"has {constant}, which is not JSON")


def _not_json(text: str, error: json.JSONDecodeError) -> str:
    if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string"):
        return f"not JSON: it ends in the middle ({error.msg}, column {error.colno})"
    return f"not JSON ({error.msg}, column {error.colno})"


def _is_lines(data: bytes) -> bool:
    """Return whether JSON data is one value for each line, and not one value over several lines or an array."""
    first, _, rest = data.strip().partition(b"\n")
    if first.startswith(b"["):
        return bool(rest) and _is_json(first)
    return not rest or _is_json(first) or not _is_json(data)


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def _lines(name: str, data: bytes) -> Iterator[Value]:
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            yield Place(name, number), parse(line.decode("utf-8").strip())
        except UnicodeDecodeError as error:
            yield Place(name, number), BadRecord(f"not UTF-8 text (byte {error.start + 1} of the line)")
        except BadRecord as reason:
            yield Place(name, number), reason


def _array(name: str, text: str) -> Iterator[Value]:
    """Yield the elements of a JSON array one by one, so that each has its line, until one is not JSON."""
    decoder = _decoder()
    at = _skip(text, text.index("[") + 1)
    line, counted = 1, 0
    first = True
    while True:
        line, counted = line + text.count("\n", counted, at), at
        place = Place(name, line)
        if text[at : at + 1] == "]" and first:
            break
        try:
            value, at = decoder.raw_decode(text, at)
        except BadRecord as reason:
            # The decoder has not said where the element ends, so that the rest of the file is lost.
            yield place, reason
            return
        except json.JSONDecodeError as error:
            line += text.count("\n", counted, error.pos)
            yield Place(name, line), BadRecord(_not_json(text, error))
            return
        except RecursionError:
            yield place, BadRecord("not JSON that can be read: it is nested too deeply")
            return
        except ValueError as error:
            yield place, BadRecord(f"not JSON that can be read: {error}")
            return
        yield place, value
        first = False
        at = _skip(text, at)
        if text[at : at + 1] == "]":
            break
        if text[at : at + 1] != ",":
            line += text.count("\n", counted, at)
            what = "it ends before the array is closed" if at == len(text) else "expected ',' or ']'"
            yield Place(name, line), BadRecord(f"not JSON: {what}")
            return
        at = _skip(text, at + 1)
    rest = _skip(text, at + 1)
    if rest < len(text):
        yield Place(name, text.count("\n", 0, rest) + 1), BadRecord("not JSON: there is more after the array")


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return at if match is None else match.end()


def _csv(name: str, text: str) -> Iterator[Value]:
    reader, header = _header(name, text)
    while True:
        place = Place(name, reader.line_num + 1)
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield place, BadRecord(f"not CSV: {error}")
            continue
        if not cells:
            continue
        if len(cells) != len(header):
            yield place, BadRecord(f"has {len(cells)} cells, and the header has {len(header)}")
            continue
        row: dict[str, object] = {key: cell for key, cell in zip(header, cells) if key in KEYS}
        # The cells of the columns of other kinds of records are empty.
        row = {key: cell for key, cell in row.items() if cell != "" or len(row) <= 2}
        try:
            if "messages" in row:
                row["messages"] = parse(str(row["messages"]))
            yield place, row
        except BadRecord as reason:
            yield place, BadRecord(f"the cell 'messages': {reason}")


def _header(name: str, text: str) -> tuple[Any, list[str]]:
    """Return a reader that has read the header, and the names of the columns."""
    csv.field_size_limit(2**31 - 1)
    reader, header = None, [""]
    for delimiter in _DELIMITERS:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        try:
            header = [cell.strip() for cell in next(reader)]
        except (csv.Error, StopIteration) as error:
            raise DataError(f"{name}, line 1: not CSV: {error}") from None
        if KEYS & set(header):
            break
    else:
        raise DataError(
            f"{name}, line 1: not a header with the columns 'messages', 'prompt' and 'completion', or 'text', but "
            + repr(text.split("\n", 1)[0].strip()[:60])
        )
    twice = next((key for key in header if key in KEYS and header.count(key) > 1), None)
    if twice is not None:
        raise DataError(f"{name}, line 1: the column '{twice}' is there twice")
    return reader, header


def _parquet(name: str, path: Path) -> Iterator[Value]:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
        errors = importlib.import_module("pyarrow").ArrowException
    except ImportError:
        raise DataError(f"{name}: Parquet files need pyarrow: pip install pyarrow") from None
    if path.is_dir():
        raise DataError(f"{name} is a folder: name the files in it")
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            columns = list(file.schema_arrow.names)
            if not KEYS & set(columns):
                found = ", ".join(repr(column) for column in columns[:5]) or "none"
                raise DataError(
                    f"{name} has no columns 'messages', 'prompt' and 'completion', or 'text'; it has {found}"
                )
            twice = next((key for key in columns if key in KEYS and columns.count(key) > 1), None)
            if twice is not None:
                raise DataError(f"{name}: the column '{twice}' is there twice")
            wanted = [column for column in columns if column in KEYS or column == "tools"]
            for batch in file.iter_batches(batch_size=1024, columns=wanted):
                for row in batch.to_pylist():
                    number += 1
                    yield Place(name, number, "row"), row
    except OSError as error:
        raise DataError(f"{name} cannot be read: {error.strerror or error}".replace("\n", " ")) from None
    except (errors, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{name} is not a Parquet file that can be read: {error}".replace("\n", " ")
        ) from None


def _sniffed(name: str, data: bytes) -> str:
    """Return the format of data whose name says nothing."""
    if data.lstrip()[:1] in (b"{", b"["):
        return "json"
    head = data.split(b"\n", 1)[0].decode("utf-8", errors="replace").strip()
    if any(KEYS & {cell.strip(' "') for cell in head.split(delimiter)} for delimiter in _DELIMITERS):
        return "csv"
    raise DataError(
        f"{name} is neither JSON lines nor a JSON array nor CSV with a header; of plain text, put each text into a "
        'line such as {"text": "…"}'
    )


def _name(source: str) -> str:
    return "standard input" if source == STDIN else source
