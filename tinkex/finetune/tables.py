"""Reads tables: CSV with a header, and Parquet."""

from __future__ import annotations

import csv
import importlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinkex.finetune.json_data import parse
from tinkex.finetune.records import KEYS, BadRecord, DataError, Place, Value

DELIMITERS = ",\t;"
"""What may separate the cells of CSV."""


def csv_rows(name: str, text: str) -> Iterator[Value]:
    """Yield the rows below the header of a CSV text. Raises ``DataError`` unless the header has the columns."""
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
    for delimiter in DELIMITERS:
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


def parquet_rows(name: str, path: Path) -> Iterator[Value]:
    """Yield the rows of a Parquet file. Raises ``DataError`` if it cannot be read, or without ``pyarrow``."""
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
