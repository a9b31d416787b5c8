"""The ``tinkex`` command. It needs the extra ``cli`` (click and rich)."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, and exit with status 0, 1 for a failed call, or 2 for bad usage.

    Without click and rich it prints how to install them.
    """
    try:
        from tinkex.cli.app import cli
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        sys.exit(f"tinkex: the command line needs {error.name}: pip install 'tinkex[cli]'")
    for stream in (sys.stdout, sys.stderr):
        # A model may produce characters that the encoding of the terminal lacks, which is no reason to fail.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    cli()
