"""``tinkex billing``: what was used and what it costs, and the present storage of checkpoints."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from tinkex.cli import call as calls
from tinkex.cli.output import Table, counted, document, show

if TYPE_CHECKING:
    from tinkex import AdminClient

Row = Mapping[str, Any]

_COSTS = {
    "training": ("estimated_cost_usd", "effective_rate_usd_per_million_tokens"),
    "sampling_prefill": ("estimated_cost_usd", "effective_rate_usd_per_million_tokens"),
    "sampling_sample": ("estimated_cost_usd", "effective_rate_usd_per_million_tokens"),
    "storage": ("estimated_cost_usd", "effective_rate_usd_per_gigabyte_month"),
}
"""The costs that usage of a type has. A table shows ``null`` for one of them that is not known yet."""


@click.group()
def billing() -> None:
    """Usage, and what it costs."""


@billing.command()
@click.argument("starting_on")
@click.argument("ending_before")
@click.option("--csv", "csv_path", metavar="PATH", help="Write the usage as CSV to PATH, or - for stdout.")
@click.option(
    "--sessions-csv",
    "sessions_path",
    metavar="PATH",
    help="Write the sessions and their user metadata as CSV to PATH, or - for stdout.",
)
@calls.server
def usage(
    call: calls.Call, *, starting_on: str, ending_before: str, csv_path: str | None, sessions_path: str | None
) -> None:
    """Show the usage of the organization, hour by hour.

    STARTING_ON and ENDING_BEFORE are whole hours such as 2026-07-13T00:00:00Z, at most 14 days apart. Costs are
    estimates in US dollars. The key must be that of an administrator.
    """
    with _admin(call) as client:
        found = client.get_billing_usage(starting_on, ending_before).result()
    whole = document(found)
    rows = [_flat(row) for row in whole["data"]]
    if sessions_path is not None:
        sessions = whole.get("sessions", {})
        _write(sessions_path, ("session_id", "user_metadata"), [_session(*each) for each in sessions.items()])
    if csv_path is not None:
        _write(csv_path, _columns(rows), rows)
    if csv_path is None and sessions_path is None:
        shown = [
            {**dict.fromkeys(_COSTS.get(row.get("type", ""), ()), "null"), **_known(row)} for row in rows
        ]
        show(call, whole, _table(counted(len(rows), None, "hour of usage"), shown))


@billing.command("checkpoint-storage")
@click.option("--project-id", help="Only the checkpoints of this project.")
@click.option("--csv", "csv_path", metavar="PATH", help="Write the storage as CSV to PATH, or - for stdout.")
@calls.server
def checkpoint_storage(call: calls.Call, *, project_id: str | None, csv_path: str | None) -> None:
    """Show how much storage checkpoints take up now, by project and owner, and what it costs in a month.

    The figures are one or two hours old. The key must be that of an administrator.
    """
    with _admin(call) as client:
        found = client.get_current_checkpoint_storage_usage(project_id).result()
    whole = document(found)
    rate = {"effective_rate_usd_per_gigabyte_month": whole.get("effective_rate_usd_per_gigabyte_month")}
    rows = [{**rate, **row} for row in whole["data"]]
    if csv_path is not None:
        _write(csv_path, _columns(rows), rows)
    else:
        show(call, whole, _table(counted(len(rows), None, "owner of checkpoints"), rows))


def _admin(call: calls.Call) -> AdminClient:
    from tinkex import AdminClient

    return AdminClient(config=call.config())


def _flat(row: Row) -> Row:
    """Return a row with what was used, which is an object of its own, among the other values."""
    info = row.get("event_info", {})
    return {**{name: value for name, value in row.items() if name != "event_info"}, **info}


def _session(session_id: str, session: Row) -> Row:
    metadata = session.get("user_metadata")
    return {
        "session_id": session_id,
        "user_metadata": None if metadata is None else json.dumps(metadata),
    }


def _known(row: Row) -> Row:
    return {name: value for name, value in row.items() if value is not None}


def _columns(rows: Sequence[Row]) -> Sequence[str]:
    """Return the names in the order in which they first appear."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _table(title: str, rows: Sequence[Row]) -> Table:
    columns = _columns(rows)
    cells = [[row.get(name) for name in columns] for row in rows]
    return Table(title, columns, [["" if cell is None else cell for cell in row] for row in cells])


def _write(path: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Write rows as CSV; a value that is None or missing is an empty cell."""
    if path == "-":
        _write_rows(sys.stdout, columns, rows)
        return
    with open(path, "w", newline="", encoding="utf-8") as file:
        _write_rows(file, columns, rows)
    click.echo(f"{path}: {counted(len(rows), None, 'row')}", err=True)


def _write_rows(file: Any, columns: Sequence[str], rows: Sequence[Row]) -> None:
    writer = csv.DictWriter(file, columns, restval="")
    writer.writeheader()
    writer.writerows(rows)
