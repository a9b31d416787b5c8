"""``tinkex version``: prints the version of Tinkex."""

from __future__ import annotations

import click

from tinkex._version import __version__
from tinkex.cli import call as calls
from tinkex.cli.output import show


@click.command()
@calls.output
def version(call: calls.Call) -> None:
    """The version of Tinkex."""
    show(call, {"version": __version__}, f"tinkex {__version__}")
