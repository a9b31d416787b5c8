"""``tinkex checkpoint download``: brings a checkpoint into a folder."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinkex.cli import call as calls
from tinkex.cli import saved
from tinkex.cli.failures import BadInput
from tinkex.cli.output import properties, show, size
from tinkex.cli.progress import Update, progress

if TYPE_CHECKING:
    from tinkex import RestClient

_EXPORT_SECONDS = 3600
"""An export expires after this time, in case the program ends before it deletes the export."""


@click.command()
@click.argument("checkpoint_path", metavar="PATH|NAME")
@click.option(
    "--output",
    "-o",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="The folder to put the checkpoint's folder into. [default: this one]",
)
@click.option("--force", is_flag=True, help="Replace the checkpoint's folder if it is there.")
@calls.server
def download(call: calls.Call, *, checkpoint_path: str, output: Path, force: bool) -> None:
    """Download a checkpoint into a folder named after it.

    PATH is the path of a checkpoint, tinker://…; NAME is that of a model that train or quickstart saved. The folder
    of tinker://run/weights/name is run_weights_name. It appears when all files are complete and
    checked. If the server offers training checkpoints only as exports, an export is made, which starts a
    training session, and deleted afterwards.
    """
    from tinkex.types.rest import ParsedCheckpointTinkerPath

    known = (
        saved.find(call, checkpoint_path) if saved.is_name(checkpoint_path) else saved.Saved(checkpoint_path)
    )
    call, checkpoint_path = replace(call, base_url=known.base_url or call.base_url), known.path
    path = ParsedCheckpointTinkerPath.from_tinker_path(checkpoint_path)
    target = output / _folder_name(f"{path.training_run_id}_{path.checkpoint_id}")
    if target.exists() and not force:
        raise BadInput(f"{target} is there already; give --force to replace it, or another --output")
    with call.rest() as client, progress("downloading", in_bytes=True) as update:
        fetch(call, client, checkpoint_path, target, update, overwrite=force)
    total = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    done = {"checkpoint_path": checkpoint_path, "destination": str(target), "file_size_bytes": total}
    values = {"checkpoint": checkpoint_path, "folder": target, "size": size(total)}
    show(call, done, properties("downloaded", values))


def _folder_name(text: str) -> str:
    return text.replace("/", "_") if os.name != "nt" else re.sub(r'[<>:"/\\|?*]', "_", text)


def fetch(
    call: calls.Call, client: RestClient, path: str, target: Path, update: Update, *, overwrite: bool = False
) -> None:
    """Download a checkpoint into ``target``, through an export if the server offers no other way."""
    from tinkex import BadRequestError, NotFoundError, UnprocessableEntityError

    try:
        client.download_checkpoint(path, target, update, overwrite=overwrite).result()
    except (BadRequestError, NotFoundError, UnprocessableEntityError) as refusal:
        if "/weights/" not in path or (isinstance(refusal, NotFoundError) and not _exists(client, path)):
            raise
        _fetch_export(call, client, path, target, update, overwrite=overwrite)


def _exists(client: RestClient, path: str) -> bool:
    from tinkex.types.rest import ParsedCheckpointTinkerPath

    run = ParsedCheckpointTinkerPath.from_tinker_path(path).training_run_id
    return any(found.tinker_path == path for found in client.list_checkpoints(run).result().checkpoints)


def _fetch_export(
    call: calls.Call, client: RestClient, path: str, target: Path, update: Update, *, overwrite: bool
) -> None:
    from tinkex import TinkerError

    with call.service() as service:
        training = service.create_training_client_from_state(path)
        export = training.save_weights_external("download", ttl_seconds=_EXPORT_SECONDS).result().path
        try:
            client.download_checkpoint(export, target, update, overwrite=overwrite).result()
        finally:
            try:
                client.delete_checkpoint_from_tinker_path(export).result()
            except TinkerError as error:
                click.echo(f"{export} could not be deleted and expires in an hour: {error}", err=True)
