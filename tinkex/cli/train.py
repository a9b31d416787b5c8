"""``tinkex train``: fine-tune a model on files of examples, over any number of restarts."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click

from tinkex.cli import call as calls
from tinkex.cli.call import Call
from tinkex.cli.train_job import Job
from tinkex.cli.train_options import Options, train_options


@click.command()
@train_options
@calls.server
def train(call: Call, **values: Any) -> None:
    """Fine-tune a model on DATA: JSON lines, JSON arrays, CSV or Parquet; - is standard input.

    A record has "messages" (a chat), "prompt" and "completion", or "text". Killed and started again with the same
    options, the command goes on from its last checkpoint.
    """
    log_dir = values.pop("log_dir") or Path("runs", values["name"])
    options = Options(**{**values, "log_dir": log_dir})
    options.check()
    if not options.dry_run:
        Job(call, options).run()
        return
    with tempfile.TemporaryDirectory(prefix="tinkex-dry-run-") as folder:
        Job(call, options.rehearsal(Path(folder))).run()
