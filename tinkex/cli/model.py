"""``tinkex model``: lists the models that the server offers."""

from __future__ import annotations

import click

from tinkex.cli import call as calls
from tinkex.cli.failures import CallFailed
from tinkex.cli.output import Table, counted, document, plain, show, yes
from tinkex.cli.progress import progress


@click.group()
def model() -> None:
    """The models on offer."""


@model.command("list")
@click.argument("substring", required=False)
@calls.server
def list_(call: calls.Call, substring: str | None) -> None:
    """List the models on offer, or those with SUBSTRING in their name, in either case."""
    with call.rest() as client, progress("models"):
        models = client.get_server_capabilities().result().supported_models
    if substring is not None:
        models = [found for found in models if substring.lower() in (found.model_name or "").lower()]
        if not models:
            raise CallFailed(f"no model has {plain(substring)!r} in its name; 'tinkex model list' shows all")
    rows = [
        (found.model_name, found.max_context_length or "unknown", yes(found.trainable), yes(found.sampleable))
        for found in models
    ]
    columns = ("model", "most tokens", "trainable", "sampleable")
    table = Table(counted(len(models), None, "model"), columns, rows)
    show(call, {"models": [document(found) for found in models]}, table)
