"""A process that runs cells: reads their keys from standard input, one a line, and writes verdicts as JSON lines."""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import sys

if sys.platform != "win32":
    import resource

from .bench import Bench
from .calls import CALLS
from .catalogue import FAULTS
from .cell import Cell
from .proxy import Mode

ADDRESS_SPACE = 6 << 30
"""Bytes that a cell may map: a bomb that goes off ends here as a ``MemoryError``."""


def run_one(bench: Bench, key: str) -> Cell:
    """Run the cell of that key; it has a verdict then."""
    fault, place, mode = key.split(":")
    call, site = place.split(".")
    checked: Mode = mode  # type: ignore[assignment]
    cell = Cell(bench, FAULTS[fault], CALLS[call], site, checked)
    cell.run()
    return cell


def main() -> int:
    faulthandler.enable()
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever else is printed is no verdict
    if sys.platform != "win32":
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    with Bench() as bench:
        gc.collect()
        gc.freeze()  # the collections of the cells need not look at what is there for good
        out.write('{"ready": true}\n')
        for line in sys.stdin:
            cell = run_one(bench, line.strip())
            out.write(json.dumps({**cell.verdict.as_json(), "stuck": cell.stuck}) + "\n")
            if cell.stuck:
                # Something runs that nothing ends, and would disturb the next cells.
                out.flush()
                os._exit(3)
    return 0


if __name__ == "__main__":
    sys.exit(main())
