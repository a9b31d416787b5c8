"""``tinkex checkpoint``: lists and shows checkpoints, and changes who may read them and when they expire."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tinkex.cli import call as calls
from tinkex.cli.checkpoint_delete import delete
from tinkex.cli.checkpoint_download import download
from tinkex.cli.checkpoint_push import push_hf
from tinkex.cli.failures import CallFailed
from tinkex.cli.listing import collect, limit_option
from tinkex.cli.output import Table, counted, document, plain, properties, show, size, when, yes
from tinkex.cli.progress import progress

if TYPE_CHECKING:
    from tinkex.types.rest import Checkpoint


@click.group()
def checkpoint() -> None:
    """Saved checkpoints. A CHECKPOINT_PATH looks like tinker://run/weights/name."""


checkpoint.add_command(delete)
checkpoint.add_command(download)
checkpoint.add_command(push_hf)


@checkpoint.command("list")
@click.option("--run-id", help="Only those of this training run, all of them.")
@limit_option
@calls.server
def list_(call: calls.Call, run_id: str | None, limit: int) -> None:
    """List checkpoints."""
    with call.rest() as client:
        if run_id is not None:
            with progress("checkpoints"):
                found = client.list_checkpoints(run_id).result().checkpoints
            total: int | None = len(found)
        else:

            def fetch(count: int, offset: int) -> tuple[list[Checkpoint], int | None]:
                page = client.list_user_checkpoints(count, offset).result()
                return page.checkpoints, page.cursor.total_count if page.cursor else None

            found, total = collect(fetch, limit, "checkpoints")
    columns = ("path", "type", "size", "public", "saved", "expires")
    rows = [
        (
            item.tinker_path,
            item.checkpoint_type,
            size(item.size_bytes),
            yes(item.public),
            when(item.time),
            when(item.expires_at, "never"),
        )
        for item in found
    ]
    listed = {"run_id": run_id} if run_id is not None else {}
    show(
        call,
        {**listed, "checkpoints": [document(item) for item in found]},
        Table(counted(len(found), total, "checkpoint"), columns, rows),
    )


@checkpoint.command()
@click.argument("checkpoint_path")
@calls.server
def info(call: calls.Call, checkpoint_path: str) -> None:
    """Show one checkpoint."""
    from tinkex.types.rest import ParsedCheckpointTinkerPath

    path = ParsedCheckpointTinkerPath.from_tinker_path(checkpoint_path)
    with call.rest() as client, progress("checkpoint"):
        listed = client.list_checkpoints(path.training_run_id)
        run = client.get_training_run(path.training_run_id).result()
        found = next((c for c in listed.result().checkpoints if c.tinker_path == checkpoint_path), None)
    if found is None:
        raise CallFailed(
            f"there is no {plain(checkpoint_path)}; "
            f"'tinkex checkpoint list --run-id {path.training_run_id}' shows what there is"
        )
    values = {
        "checkpoint": found.checkpoint_id,
        "type": found.checkpoint_type,
        "path": found.tinker_path,
        "size": size(found.size_bytes),
        "public": yes(found.public),
        "saved": when(found.time),
        "expires": when(found.expires_at, "never"),
        "run": path.training_run_id,
        "base model": run.base_model,
        "LoRA": "no" if not run.is_lora else f"rank {run.lora_rank}" if run.lora_rank else "yes",
    }
    show(
        call,
        {**document(found), "is_lora": run.is_lora, "lora_rank": run.lora_rank},
        properties(f"checkpoint {found.checkpoint_id}", values, found.user_metadata),
    )


@checkpoint.command()
@click.argument("checkpoint_path")
@calls.server
def publish(call: calls.Call, checkpoint_path: str) -> None:
    """Let everybody read a checkpoint."""
    with call.rest() as client, progress("publishing"):
        client.publish_checkpoint_from_tinker_path(checkpoint_path).result()
    done = {"checkpoint_path": checkpoint_path, "public": True}
    show(call, done, f"{checkpoint_path} is public")


@checkpoint.command()
@click.argument("checkpoint_path")
@calls.server
def unpublish(call: calls.Call, checkpoint_path: str) -> None:
    """Let only its owner read a checkpoint again."""
    with call.rest() as client, progress("unpublishing"):
        client.unpublish_checkpoint_from_tinker_path(checkpoint_path).result()
    done = {"checkpoint_path": checkpoint_path, "public": False}
    show(call, done, f"{checkpoint_path} is private")


@checkpoint.command("set-ttl")
@click.argument("checkpoint_path")
@click.option("--ttl", type=click.IntRange(1), metavar="SECONDS", help="From now; 3600 to ten years.")
@click.option("--remove", is_flag=True, help="Keep the checkpoint until it is deleted.")
@calls.server
def set_ttl(call: calls.Call, *, checkpoint_path: str, ttl: int | None, remove: bool) -> None:
    """Let a checkpoint expire after some time, or never."""
    if (ttl is None) is not remove:
        raise click.UsageError("give either --ttl SECONDS or --remove")
    with call.rest() as client, progress("setting the time to live"):
        client.set_checkpoint_ttl_from_tinker_path(checkpoint_path, ttl).result()
    done = {"checkpoint_path": checkpoint_path, "ttl_seconds": ttl}
    show(
        call,
        done,
        f"{checkpoint_path} " + ("does not expire" if ttl is None else f"expires in {ttl} seconds"),
    )
