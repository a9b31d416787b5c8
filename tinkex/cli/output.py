"""What commands print: a table (rich on a terminal, else cells between tabs), or one JSON document."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click

from tinkex.cli.call import Call


@dataclass(frozen=True)
class Table:
    """Rows under column headings."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


def properties(
    title: str, values: Mapping[str, object], metadata: Mapping[str, object] | None = None
) -> Table:
    """A table of one thing; values that are None are left out."""
    rows = [(name, value) for name, value in values.items() if value is not None]
    rows += [(f"metadata {name}", value) for name, value in (metadata or {}).items()]
    return Table(title, ("property", "value"), rows)


def show(call: Call, document: object, text: Table | str) -> None:
    """Print ``document`` as JSON if that was asked for, else ``text``."""
    if call.as_json:
        click.echo(json.dumps(document, indent=2, default=str))
    elif isinstance(text, str):
        click.echo(text)
    else:
        _print_table(text)


def document(message: Any) -> Any:
    """A message of ``tinkex.types`` as a JSON object, times in ISO 8601."""
    return message.to_dict()


def plain(text: str) -> str:
    """On one line, with what a terminal would act on spelled out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def size(count: int | None) -> str:
    """Bytes, in the largest unit that leaves a whole number of them."""
    if count is None:
        return "unknown"
    amount = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def when(moment: datetime | None, never: str = "unknown") -> str:
    """A point in time by the local clock."""
    return never if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M")


def yes(value: bool | None) -> str:
    """Yes, no, or unknown."""
    return "unknown" if value is None else "yes" if value else "no"


def counted(found: int, total: int | None, noun: str) -> str:
    """``3 runs``, and how many more there are."""
    more = f" ({total - found} more with --limit 0)" if total is not None and total > found else ""
    return f"{found or 'no'} {noun}{'' if found == 1 else 's'}{more}"


def _print_table(table: Table) -> None:
    rows = [[plain(str(cell)) for cell in row] for row in table.rows]
    if not sys.stdout.isatty():  # for programs: a line a row, tabs between cells, nothing cut
        for row in [table.columns, *rows]:
            click.echo("\t".join(row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable

    click.echo(plain(table.title))
    if rows:
        shown = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in table.columns:
            shown.add_column(column, overflow="fold")
        for row in rows:
            shown.add_row(*row)
        Console(emoji=False, markup=False, highlight=False).print(shown)
