"""``tinkex checkpoint delete``: deletes checkpoints by their path, or those of a run."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING

import click

from tinkex.cli import call as calls
from tinkex.cli.failures import BadInput, CallFailed, explained
from tinkex.cli.output import plain, show, size, when
from tinkex.cli.progress import progress

if TYPE_CHECKING:
    from tinkex import RestClient
    from tinkex.types.rest import Checkpoint

_KINDS = ("weights", "sampler_weights", "external_weights", "training", "sampler", "external")


def _parse_time(ctx: click.Context, parameter: click.Parameter, value: str | None) -> datetime | None:
    from tinkex.types import times

    if value is None:
        return None
    try:
        return times.parse(value if ":" in value else f"{value}T00:00")
    except ValueError as error:
        raise click.BadParameter(f"{error}; write 2024-01-31 or 2024-01-31T08:00:00Z (UTC)") from None


@click.command()
@click.argument("checkpoint_paths", nargs=-1)
@click.option("--run-id", help="All checkpoints of this training run, or those that the options below leave.")
@click.option("--type", "kind", type=click.Choice(_KINDS), help="Only those of this type.")
@click.option(
    "--before", callback=_parse_time, metavar="TIME", help="Only those saved before (ISO 8601, UTC)."
)
@click.option("--after", callback=_parse_time, metavar="TIME", help="Only those saved after (ISO 8601, UTC).")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@calls.server
def delete(
    call: calls.Call,
    *,
    checkpoint_paths: tuple[str, ...],
    run_id: str | None,
    kind: str | None,
    before: datetime | None,
    after: datetime | None,
    yes: bool,
) -> None:
    """Delete checkpoints for good: those at CHECKPOINT_PATHS, or those of a run."""
    from tinkex.types.rest import ParsedCheckpointTinkerPath

    if bool(checkpoint_paths) is (run_id is not None):
        raise click.UsageError("give either checkpoint paths or --run-id")
    if run_id is None and (kind or before or after):
        raise click.UsageError("--type, --before and --after need --run-id")
    for path in checkpoint_paths:
        ParsedCheckpointTinkerPath.from_tinker_path(path)
    with call.rest() as client:
        chosen = {path: path for path in checkpoint_paths}
        if run_id is not None:
            with progress("checkpoints"):
                listed = client.list_checkpoints(run_id).result().checkpoints
            chosen = {c.tinker_path: _described(c) for c in listed if _is_meant(c, kind, before, after)}
        failed: list[tuple[str, str]] = []
        if chosen and (yes or _confirm(list(chosen.values()))):
            failed = _delete(client, list(chosen))
        elif chosen:
            chosen = {}
    count = len(chosen) - len(failed)
    problems = [{"tinker_path": path, "error": error} for path, error in failed]
    show(
        call, {"deleted_count": count, "failed": problems}, f"deleted {count} checkpoint{'s' * (count != 1)}"
    )
    if failed:
        path, error = failed[0]
        others = f" (and {len(failed) - 1} others were not)" if len(failed) > 1 else ""
        raise CallFailed(f"{path} was not deleted{others}: {error}")


def _is_meant(
    checkpoint: Checkpoint, kind: str | None, before: datetime | None, after: datetime | None
) -> bool:
    saved = checkpoint.time  # an unknown time is neither before nor after another
    return (
        (kind is None or kind in (checkpoint.checkpoint_type, checkpoint.checkpoint_id.split("/")[0]))
        and (before is None or (saved is not None and saved < before))
        and (after is None or (saved is not None and saved > after))
    )


def _described(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.tinker_path} ({size(checkpoint.size_bytes)}, saved {when(checkpoint.time)})"


def _confirm(descriptions: list[str]) -> bool:
    """Ask on stderr. ``click.confirm`` would also write to stdout, where only the output may appear."""
    for line in descriptions:
        click.echo(f"  {plain(line)}", err=True)
    count = len(descriptions)
    question = f"Delete {'this checkpoint' if count == 1 else f'these {count} checkpoints'} for good?"
    click.echo(f"{question} [y/N] ", nl=False, err=True)
    answer = sys.stdin.readline()
    if not answer:
        click.echo(err=True)
        raise BadInput("nothing was deleted: answer y, or give --yes")
    return answer.strip().lower() in ("y", "yes")


def _delete(client: RestClient, paths: list[str]) -> list[tuple[str, str]]:
    """Delete checkpoints, many at a time. Return the paths that could not be deleted, with the reasons."""
    from tinkex import TinkerError

    failed = []
    with progress("deleting") as update:
        futures = [(path, client.delete_checkpoint_from_tinker_path(path)) for path in paths]
        for done, (path, future) in enumerate(futures, 1):
            try:
                future.result()
            except TinkerError as error:
                failed.append((path, explained(error)))
            update(done, len(paths))
    return failed
