"""``tinkex run``: lists and shows training runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from tinkex.cli import call as calls
from tinkex.cli.listing import collect, limit_option
from tinkex.cli.output import Table, counted, document, properties, show, when
from tinkex.cli.progress import progress

if TYPE_CHECKING:
    from tinkex.types.rest import TrainingRun

_COLUMNS: dict[str, tuple[str, Callable[[TrainingRun], object]]] = {
    "id": ("run", lambda run: run.training_run_id),
    "model": ("base model", lambda run: run.base_model),
    "owner": ("owner", lambda run: run.model_owner),
    "lora": ("LoRA", lambda run: _lora(run)),
    "updated": ("last request", lambda run: when(run.last_request_time)),
    "status": ("status", lambda run: _status(run)),
    "checkpoint": (
        "last checkpoint",
        lambda run: run.last_checkpoint.checkpoint_id if run.last_checkpoint else "none",
    ),
    "checkpoint_time": (
        "saved",
        lambda run: when(run.last_checkpoint.time if run.last_checkpoint else None, "never"),
    ),
}
_DEFAULT = "id,model,lora,updated,status"


@click.group()
def run() -> None:
    """Training runs."""


def _parse_columns(ctx: click.Context, parameter: click.Parameter, value: str) -> list[str]:
    names = [name.strip() for name in value.split(",")]
    for name in names:
        if name not in _COLUMNS:
            raise click.BadParameter(f"no column {name!r}; there are {', '.join(_COLUMNS)}")
    return names


@run.command("list")
@limit_option
@click.option(
    "--columns",
    "-c",
    default=_DEFAULT,
    show_default=True,
    callback=_parse_columns,
    help=f"Of the table, in this order; of {', '.join(_COLUMNS)}.",
)
@calls.server
def list_(call: calls.Call, limit: int, columns: Sequence[str]) -> None:
    """List training runs, the latest first."""
    with call.rest() as client:

        def fetch(size: int, offset: int) -> tuple[list[TrainingRun], int | None]:
            page = client.list_training_runs(size, offset).result()
            return page.training_runs, page.cursor.total_count

        runs, total = collect(fetch, limit, "training runs")
    rows = [[_COLUMNS[name][1](item) for name in columns] for item in runs]
    table = Table(counted(len(runs), total, "training run"), [_COLUMNS[name][0] for name in columns], rows)
    show(call, {"runs": [document(item) for item in runs]}, table)


@run.command()
@click.argument("run_id")
@calls.server
def info(call: calls.Call, run_id: str) -> None:
    """Show one training run."""
    with call.rest() as client, progress("training run"):
        found = client.get_training_run(run_id).result()
    last, sampler = found.last_checkpoint, found.last_sampler_checkpoint
    values = {
        "run": found.training_run_id,
        "base model": found.base_model,
        "owner": found.model_owner,
        "LoRA": _lora(found),
        "last request": when(found.last_request_time),
        "status": _status(found),
        "last checkpoint": last and last.tinker_path,
        "saved": last and when(last.time),
        "last sampler checkpoint": sampler and sampler.tinker_path,
        "sampler saved": sampler and when(sampler.time),
    }
    table = properties(f"training run {run_id}", values, found.user_metadata)
    show(call, document(found), table)


def _lora(found: TrainingRun) -> str:
    return "no" if not found.is_lora else f"rank {found.lora_rank}" if found.lora_rank else "yes"


def _status(found: TrainingRun) -> str:
    return "failed" if found.corrupted else "ok"
