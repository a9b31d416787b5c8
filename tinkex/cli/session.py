"""``tinkex session``: lists, shows and finds sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tinkex.cli import call as calls
from tinkex.cli.listing import PAGE, collect, limit_option
from tinkex.cli.output import Table, counted, document, properties, show, size, when
from tinkex.cli.progress import progress

if TYPE_CHECKING:
    from tinkex.types.session_search import SessionStatus, SessionStatusQuery, SessionSummary

_STATUSES = ("active", "cancelled", "failed", "success", "errored", "interrupted")


@click.group()
def session() -> None:
    """Sessions."""


@session.command("list")
@limit_option
@calls.server
def list_(call: calls.Call, limit: int) -> None:
    """List the ids of sessions, the latest first."""
    with call.rest() as client:

        def fetch(count: int, offset: int) -> tuple[list[str], int | None]:
            return client.list_sessions(count, offset).result().sessions, None

        found, _ = collect(fetch, limit, "sessions")
    table = Table(counted(len(found), None, "session"), ("session",), [(item,) for item in found])
    show(call, {"sessions": found}, table)


@session.command()
@click.argument("session_id")
@calls.server
def info(call: calls.Call, session_id: str) -> None:
    """Show one session: its training runs and samplers."""
    with call.rest() as client, progress("session"):
        found = client.get_session(session_id).result()
    values = {
        "session": session_id,
        "name": found.display_name,
        "training runs": ", ".join(found.training_run_ids) or "none",
        "samplers": ", ".join(found.sampler_ids) or "none",
    }
    table = properties(f"session {session_id}", values, found.user_metadata)
    show(call, {"session_id": session_id, **document(found)}, table)


def _parse_metadata(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    for value in values:
        if "=" not in value:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE")
    return {name: wanted for name, _, wanted in (value.partition("=") for value in values)}


@session.command()
@click.argument("words", nargs=-1)
@click.option("--id", "session_id", help="This session; with WORDS, it or those.")
@click.option("--project", multiple=True, metavar="ID", help="Only of this project; may be repeated.")
@click.option(
    "--metadata",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_parse_metadata,
    help="Only with this user metadata; may be repeated.",
)
@click.option(
    "--status",
    multiple=True,
    type=click.Choice(_STATUSES),
    help="Only those that run, or that ended so; may be repeated.",
)
@click.option("--accessible", is_flag=True, help="Not only one's own, but all that one may see.")
@limit_option
@calls.server
def search(
    call: calls.Call,
    *,
    words: tuple[str, ...],
    session_id: str | None,
    project: tuple[str, ...],
    metadata: dict[str, str],
    status: tuple[str, ...],
    accessible: bool,
    limit: int,
) -> None:
    """Find sessions, the latest first, with all WORDS in their name, in either case."""
    from tinkex.types import session_search as queries

    request: dict[str, Any] = {
        "session_id": session_id,
        "project_ids": project or None,
        "user_metadata": metadata,
        "display_name": " ".join(words) or None,
        "owner": queries.AccessibleSearchOwner() if accessible else queries.OwnSearchOwner(),
        "statuses": [_query(name) for name in status] or None,
    }
    found: list[SessionSummary] = []
    cursor = None
    with call.rest() as client, progress("sessions") as update:
        while True:
            wanted = min(PAGE, limit - len(found)) if limit else PAGE
            asked = queries.SessionSearchRequest(**request, limit=wanted, cursor=cursor)
            page = client.search_sessions(asked).result()
            found += page.sessions
            cursor = page.next_cursor
            update(len(found), limit or None)
            if cursor is None or not page.sessions or len(found) == limit:
                break
    columns = ("session", "name", "created", "status", "checkpoints", "size", "project")
    rows = [
        (
            item.session_id,
            item.display_name or "",
            when(item.created_at),
            _status(item.status),
            item.checkpoints_count,
            size(item.checkpoint_storage_bytes),
            item.project_id,
        )
        for item in found
    ]
    title = counted(len(found), None, "session") + (" (more with --limit 0)" if cursor else "")
    show(call, {"sessions": [document(item) for item in found]}, Table(title, columns, rows))


def _query(name: str) -> SessionStatusQuery:
    from tinkex.types import session_search as queries

    match name:
        case "active":
            return queries.ActiveSessionStatusQuery()
        case "cancelled":
            return queries.CancelledSessionStatusQuery()
        case "failed":
            return queries.FailedSessionStatusQuery()
        case "success" | "errored" | "interrupted":
            return queries.ClientFinishedSessionStatusQuery([name])
    raise ValueError(name)


def _status(status: SessionStatus | None) -> str:
    if status is None:
        return "unknown"
    return status.reason.type if status.type == "client_finished" and status.reason else status.type
