"""``tinkex session export-trace``."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinkex.cli import call as calls
from tinkex.cli.output import properties, show, size
from tinkex.cli.progress import Update, progress

if TYPE_CHECKING:
    from tinkex.download.links import URLs


@click.command("export-trace")
@click.argument("session_id")
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write. [default: SESSION_ID.pftrace]",
)
@click.option("--url-only", is_flag=True, help="Print the signed URL of the trace, and do not download it.")
@calls.server
def export_trace(call: calls.Call, *, session_id: str, output: Path | None, url_only: bool) -> None:
    """Download the timeline of a session, as a trace that https://ui.perfetto.dev shows.

    The server makes the trace, which may take minutes. Its URL works for about an hour.
    """
    with call.rest() as client:
        if url_only:
            with progress("making the trace"):
                url = client.export_session_trace(session_id).result()
            show(call, {"session_id": session_id, "url": url}, url)
            return
        target = output or Path(f"{session_id}.pftrace".replace("/", "_"))
        target.parent.mkdir(parents=True, exist_ok=True)
        with progress("downloading", in_bytes=True) as update:
            _download(
                call, lambda: {_TRACE: client.export_session_trace(session_id).result()}, target, update
            )
    written = os.stat(target).st_size
    done = {"session_id": session_id, "destination": str(target), "file_size_bytes": written}
    show(call, done, properties("downloaded", {"session": session_id, "file": target, "size": size(written)}))


_TRACE = "trace"


def _download(call: calls.Call, ask: Callable[[], URLs], target: Path, update: Update) -> None:
    """Write the file at the signed URL that ``ask`` gets to ``target``, which appears when it is complete."""
    from tinkex.download.fetch import Fetcher
    from tinkex.download.links import Links

    fetcher = Fetcher(call.config())
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as work:
        try:
            fetcher.fetch(Links(ask)[_TRACE], Path(work, _TRACE), _Watch(update))
        finally:
            fetcher.close()
        os.replace(Path(work, _TRACE), target)


class _Watch:
    """Shows the progress of the download."""

    def __init__(self, update: Update) -> None:
        self._update = update
        self._done = 0
        self._total: int | None = None

    def check(self) -> None:
        return

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def size(self, total: int) -> None:
        self._total = total

    def moved(self, count: int) -> None:
        self._done += count
        self._update(self._done, self._total)
