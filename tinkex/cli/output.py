"""The output of commands: a table, or one JSON document.

A table is drawn with rich on a terminal that is wide enough. On a narrower one, the cells of each row are listed, so
that a path or an id is never broken and can be copied. Elsewhere the cells are separated by tabs.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import click

from tinkex.cli.call import Call
from tinkex.usage import Usage


@dataclass(frozen=True)
class Table:
    """A title, column headings, and rows.

    The first column has what the others describe: a path, an id, or the name of a property.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


def properties(
    title: str, values: Mapping[str, object], metadata: Mapping[str, object] | None = None
) -> Table:
    """Return a table of the properties of one thing. Values that are None are left out."""
    rows = [(name, value) for name, value in values.items() if value is not None]
    rows += [(f"metadata {name}", value) for name, value in (metadata or {}).items()]
    return Table(title, ("property", "value"), rows)


def show(call: Call, document: object, text: Table | str) -> None:
    """Print ``document`` as JSON if ``--format json`` was given, and ``text`` otherwise."""
    if call.as_json:
        click.echo(json.dumps(document, indent=2, default=str))
    elif isinstance(text, str):
        click.echo(text)
    else:
        _print_table(text)


def document(message: Any) -> Any:
    """Return a message of ``tinkex.types`` as a JSON object, with times in ISO 8601."""
    return message.to_dict()


def usage_document(usage: Usage) -> dict[str, dict[str, int]]:
    """Return the tokens used by each model as a JSON object."""
    return {
        name: {
            "prefill": used.prefill,
            "cached": used.cached,
            "sample": used.sample,
            "train": used.train,
            "forward": used.forward,
        }
        for name, used in usage.models.items()
    }


def plain(text: str) -> str:
    """Return ``text`` on one line, with control characters as escape sequences such as ``\\x1b``."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def size(count: int | None) -> str:
    """Return a number of bytes in the largest decimal unit of which there is at least one: ``1.5 MB``."""
    if count is None:
        return "unknown"
    amount = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def when(moment: datetime | None, never: str = "unknown") -> str:
    """Return a point in time in the local time zone, or ``never`` if there is none."""
    return never if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M")


def yes(value: bool | None) -> str:  # noqa: FBT001  a bool is what this function formats
    """Return ``yes``, ``no``, or ``unknown`` for None."""
    return "unknown" if value is None else "yes" if value else "no"


def counted(found: int, total: int | None, noun: str) -> str:
    """Return a heading such as ``3 runs (4 more with --limit 0)``."""
    more = f" ({total - found} more with --limit 0)" if total is not None and total > found else ""
    return f"{found or 'no'} {noun}{'' if found == 1 else 's'}{more}"


_INDENTED: Any = {"initial_indent": "    ", "subsequent_indent": "    ", "break_long_words": False}
_UNBOUNDED = 1 << 20
"""More columns than any table has, so that its natural width can be measured."""


def _print_table(table: Table) -> None:
    rows = [[plain(str(cell)) for cell in row] for row in table.rows]
    if not sys.stdout.isatty():  # programs get one line for each row, tabs between the cells, and nothing cut
        for row in [table.columns, *rows]:
            click.echo("\t".join(row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable

    click.echo(plain(table.title))
    if not rows:
        return
    shown = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in table.columns:
        shown.add_column(column, no_wrap=True)
    for row in rows:
        shown.add_row(*row)
    console = Console(emoji=False, markup=False, highlight=False)
    if console.measure(shown, options=console.options.update(width=_UNBOUNDED)).maximum <= console.width:
        console.print(shown)
        return
    for first, *others in rows:
        if len(others) == 1:
            click.echo(f"{first}: {others[0]}")
        else:
            described = (f"{heading} {cell}" for heading, cell in zip(table.columns[1:], others) if cell)
            click.echo(first)
            click.echo(textwrap.fill(", ".join(described), console.width, **_INDENTED))
