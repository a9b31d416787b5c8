"""The ``tinkex`` command. Needs the extra ``cli`` (click and rich), and says so where it is missing."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the console script. Exit status: 0, 1 for a failed call, 2 for bad usage."""
    try:
        from tinkex.cli.app import cli
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        sys.exit(f"tinkex: the command line needs {error.name}: pip install 'tinkex[cli]'")
    for stream in (sys.stdout, sys.stderr):
        # What a model says may have characters that a terminal cannot show; that must not end the program.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    cli()
