"""The ``tinkex`` command. It needs the extra ``cli`` (click and rich)."""

from __future__ import annotations

import signal
import sys

from tinkex._extras import install_command

INTERRUPTED = "Interrupted"
"""What is printed on stderr after Ctrl-C."""
INTERRUPTED_STATUS = 128 + signal.SIGINT
"""The exit status that shells expect after Ctrl-C."""


def main() -> None:
    """Run the command line, and exit with status 0, 1 for a failed call, 2 for bad usage, or 130 after Ctrl-C.

    Without click and rich it prints how to install them.
    """
    try:
        from tinkex.cli.app import cli
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        sys.exit(INTERRUPTED_STATUS)
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        sys.exit(f"tinkex: the command line needs {error.name}: {install_command('cli')}")
    for stream in (sys.stdout, sys.stderr):
        # A model may produce characters that the encoding of the terminal lacks, which is no reason to fail.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    cli()
