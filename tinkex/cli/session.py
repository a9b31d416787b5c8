"""``tinkex session``: lists, shows and finds sessions. ``session_trace`` has the download of a trace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from tinkex.cli import call as calls
from tinkex.cli.listing import PAGE, collect, limit_option
from tinkex.cli.output import Table, counted, document, properties, show, size, when
from tinkex.cli.progress import progress
from tinkex.cli.session_trace import export_trace
from tinkex.errors import APIResponseValidationError, NotFoundError, UnprocessableEntityError

if TYPE_CHECKING:
    from tinkex import RestClient
    from tinkex.types.session_search import SessionStatus, SessionStatusQuery, SessionSummary

_STATUSES = ("active", "cancelled", "failed", "success", "errored", "interrupted")


@click.group()
def session() -> None:
    """Sessions."""


session.add_command(export_trace)


@session.command("list")
@limit_option
@calls.server
def list_(call: calls.Call, limit: int) -> None:
    """List sessions, the latest first, and which of them are active."""
    with call.rest() as client:

        def fetch(count: int, offset: int) -> tuple[list[str], int | None]:
            return client.list_sessions(count, offset).result().sessions, None

        found, _ = collect(fetch, limit, "sessions")
        summaries = _summaries(client, found)
    listed = [(session_id, summaries.get(session_id)) for session_id in found]
    documents = [
        {"session_id": session_id} if summary is None else document(summary) for session_id, summary in listed
    ]
    rows = [
        (session_id, "unknown", "unknown", "") if summary is None else (session_id, *_described(summary))
        for session_id, summary in listed
    ]
    columns = ("session", "status", "created", "name")
    show(call, {"sessions": documents}, Table(counted(len(found), None, "session"), columns, rows))


def _summaries(client: RestClient, session_ids: Sequence[str]) -> dict[str, SessionSummary]:
    """Return what the server's search says of these sessions: nothing on a server that has no search.

    Both lists begin with the latest session. A page more than there are ids covers sessions that started meanwhile.
    """
    missing = set(session_ids)
    found: dict[str, SessionSummary] = {}
    try:
        for page in _pages(client, {}, len(session_ids) + PAGE):
            for summary in page:
                if summary.session_id in missing:
                    missing.remove(summary.session_id)
                    found[summary.session_id] = summary
            if not missing:
                break
    except (NotFoundError, UnprocessableEntityError, APIResponseValidationError):
        pass
    return found


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
    with call.rest() as client, progress("sessions") as update:
        for page in _pages(client, request, limit):
            found += page
            update(len(found), limit or None)
    columns = ("session", "status", "created", "name", "checkpoints", "size", "project")
    rows = [
        (
            item.session_id,
            *_described(item),
            item.checkpoints_count,
            size(item.checkpoint_storage_bytes),
            item.project_id,
        )
        for item in found
    ]
    title = counted(len(found), None, "session") + (" (--limit 0 lists all)" if len(found) == limit else "")
    show(call, {"sessions": [document(item) for item in found]}, Table(title, columns, rows))


def _pages(client: RestClient, request: dict[str, Any], limit: int) -> Iterator[list[SessionSummary]]:
    """Yield the pages of a search, up to ``limit`` sessions, or all of them if it is 0."""
    from tinkex.types.session_search import SessionSearchRequest

    count, cursor = 0, None
    while True:
        wanted = min(PAGE, limit - count) if limit else PAGE
        page = client.search_sessions(SessionSearchRequest(**request, limit=wanted, cursor=cursor)).result()
        yield page.sessions
        count += len(page.sessions)
        cursor = page.next_cursor
        if cursor is None or not page.sessions or count == limit:
            return


def _described(summary: SessionSummary) -> tuple[str, str, str]:
    return _status(summary.status), when(summary.created_at), summary.display_name or ""


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
