"""Runs many cells of the matrix, in several processes, and tells what came of them.

    python -m tests.faults.matrix                                   # all, in half an hour or so
    python -m tests.faults.matrix --only 'reset.*:optim_step.*:*'   # some, by pattern; may be given again
    python -m tests.faults.matrix --sample 0.1                      # a tenth, always the same one
    python -m tests.faults.matrix --list                            # the keys of the cells

A cell's key is ``fault:call.site:mode``; ``--only`` with a key runs that cell again.
"""

from __future__ import annotations

import argparse
import collections
import fnmatch
import hashlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from .calls import CALLS
from .catalogue import FAULTS
from .cell import KINDS
from .proxy import MODES

WORKERS = 12
CELL_SECONDS = 150.0
"""After this long without a verdict a process is ended, and its cell counts as a hang."""
START_SECONDS = 120.0
Verdict = dict[str, Any]


THIRD = (1 << 32) // 3


def all_cells(full: bool = False) -> list[str]:
    """The keys of the matrix.

    Every fault strikes the core calls in every mode, and so do the leads of the families all calls. The
    others strike a third of the places, always the same ones, and once; with ``full`` all, in all modes.
    """
    keys = []
    for call in CALLS.values():
        for site, spot in call.sites.items():
            for fault in FAULTS.values():
                if spot.kind not in fault.at or (fault.when == "after" and not spot.does):
                    continue
                place = f"{fault.name}:{call.name}.{site}"
                everywhere = full or call.core or fault.lead
                if everywhere or _number(place) < THIRD:
                    keys += [f"{place}:{mode}" for mode in (MODES if everywhere else MODES[:1])]
    return keys


def chosen(only: Sequence[str], sample: float = 1.0, full: bool = False) -> list[str]:
    """The cells that fit one of the patterns; of them the share ``sample``, always the same ones."""
    keys = all_cells(full or bool(only))
    if only:
        keys = [key for key in keys if any(key == one or fnmatch.fnmatchcase(key, one) for one in only)]
    if sample < 1:
        keys = [key for key in keys if _number(key) < sample * (1 << 32)]
    # In an order of no meaning, so that cells that take long do not all come at once.
    return sorted(keys, key=_number)


def _number(key: str) -> int:
    return int(hashlib.sha256(key.encode()).hexdigest()[:8], 16)


def run(
    keys: Iterable[str], workers: int = WORKERS, tell: Callable[[Verdict], None] = lambda _: None
) -> list[Verdict]:
    """The verdicts of these cells. ``tell`` is called with each as it comes."""
    todo: queue.SimpleQueue[str] = queue.SimpleQueue()
    keys = list(keys)
    for key in keys:
        todo.put(key)
    verdicts: list[Verdict] = []
    lock = threading.Lock()

    def add(verdict: Verdict) -> None:
        with lock:
            verdicts.append(verdict)
            tell(verdict)

    threads = [
        threading.Thread(target=_work, args=(todo, add), name=f"matrix-{n}", daemon=True)
        for n in range(min(workers, len(keys)))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    missing = sorted(set(keys) - {verdict["key"] for verdict in verdicts})
    if missing:
        raise RuntimeError(f"{len(missing)} cells were not run, such as {missing[0]}")
    return verdicts


def _work(todo: queue.SimpleQueue[str], add: Callable[[Verdict], None]) -> None:
    """Give cells to one process, and to another one when that had to end."""
    worker: _Worker | None = None
    try:
        while True:
            try:
                key = todo.get_nowait()
            except queue.Empty:
                return
            worker = worker or _Worker()
            verdict = worker.run(key)
            if verdict is None or verdict.pop("stuck"):
                worker.end()
                worker = None
            add(verdict or {"key": key, "ended": "process ended", "seconds": CELL_SECONDS, "hits": 0, "log": [],
                            "findings": [["hang", "the whole process had to be ended"]]})  # fmt: skip
    finally:
        if worker is not None:
            worker.end()


class _Worker:
    """A process of ``worker``."""

    def __init__(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TINKER_")}
        environment |= {
            "PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path),
            "MALLOC_ARENA_MAX": "2",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, bufsize=1, env=environment,
        )  # fmt: skip
        self._answers: queue.SimpleQueue[Verdict | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="matrix-reader", daemon=True).start()
        if self._answer(START_SECONDS) is None:
            self.end()
            raise RuntimeError("a worker does not start; run 'python -m tests.faults.worker' to see why")

    def run(self, key: str) -> Verdict | None:
        """The verdict of a cell; None if the process has ended, or does not answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(key + "\n")
        except OSError:
            return None
        return self._answer(CELL_SECONDS)

    def end(self) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
            self._process.wait(5)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(json.loads(line))
        self._answers.put(None)

    def _answer(self, seconds: float) -> Verdict | None:
        try:
            return self._answers.get(timeout=seconds)
        except queue.Empty:
            return None


# ---- telling ----


def table(verdicts: Sequence[Verdict]) -> str:
    """Counts of cells by family of fault and by what was found, as a Markdown table."""
    rows: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for verdict in verdicts:
        family = FAULTS[verdict["key"].split(":")[0]].family
        for row in (rows[family], rows["all"]):
            row["cells"] += 1
            row["ok"] += verdict["ended"] == "ok"
            row["unstruck"] += verdict["hits"] == 0
            row.update({kind for kind, _ in verdict["findings"]})
    columns = ["cells", *KINDS, "ok", "unstruck"]
    heads = ["cells", "hangs", *KINDS[1:], "call succeeded", "not struck"]
    lines = ["| fault | " + " | ".join(heads) + " |", "| --- |" + " ---: |" * len(heads)]
    total = rows.pop("all", collections.Counter())
    for family, row in [*sorted(rows.items()), ("**all**", total)]:
        lines.append(f"| {family} | " + " | ".join(str(row[column]) for column in columns) + " |")
    return "\n".join(lines)


def failing(verdicts: Sequence[Verdict]) -> list[Verdict]:
    return sorted(
        (verdict for verdict in verdicts if verdict["findings"]), key=lambda verdict: str(verdict["key"])
    )


def by_cause(verdicts: Sequence[Verdict]) -> str:
    """The failing cells, grouped by fault family, call and finding."""
    groups: dict[tuple[str, str, str], list[str]] = collections.defaultdict(list)
    for verdict in failing(verdicts):
        fault, place, _ = verdict["key"].split(":")
        for kind in {kind for kind, _ in verdict["findings"]}:
            groups[kind, FAULTS[fault].family, place].append(verdict["key"])
    return "\n".join(
        f"{kind:8} {family:14} {place:55} {len(keys):4}  {keys[0]}"
        for (kind, family, place), keys in sorted(groups.items())
    )


def write_figures(page: Path, text: str, of: str = "matrix") -> None:
    """Put ``text`` into ``page``, between the markers of the matrix or of the soak."""
    begin, end = f"<!-- last run of the {of} -->", f"<!-- end of the last run of the {of} -->"
    before, found, rest = page.read_text("utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{page} has no place for the figures: {begin} ... {end}")
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}", "utf-8")


class _Progress:
    def __init__(self, total: int) -> None:
        self._total = total
        self._done = self._failed = 0
        self._began = self._told = time.monotonic()

    def __call__(self, verdict: Verdict) -> None:
        self._done += 1
        self._failed += bool(verdict["findings"])
        now = time.monotonic()
        for what, text in verdict["findings"]:
            print(f"{verdict['key']}: {what}: {text}", file=sys.stderr, flush=True)
        if now - self._told < 5 and self._done < self._total:
            return
        self._told = now
        spent = now - self._began
        left = spent / self._done * (self._total - self._done)
        print(
            f"{self._done}/{self._total} cells, {self._failed} failing, {spent:.0f} s, about {left:.0f} s to go",
            file=sys.stderr, flush=True,
        )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.matrix", description="Run the fault matrix."
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="PATTERN", help="cells that fit fault:call.site:mode"
    )
    parser.add_argument("--sample", type=float, default=1.0, help="this share of the cells")
    parser.add_argument(
        "--full", action="store_true", help="every fault at every call in every mode: for hours"
    )
    parser.add_argument("--workers", type=int, default=WORKERS, help="processes (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the failing cells here")
    parser.add_argument(
        "--write", type=Path, metavar="PAGE", help="put the figures into this page, between its markers"
    )
    parser.add_argument("--list", action="store_true", help="print the keys of the cells, and run none")
    options = parser.parse_args(arguments)
    keys = chosen(options.only, options.sample, options.full)
    if options.list:
        print("\n".join(keys))
        return 0
    if not keys:
        parser.error("no cell fits")
    began = time.monotonic()
    verdicts = run(keys, options.workers, _Progress(len(keys)))
    minutes = (time.monotonic() - began) / 60
    bad = failing(verdicts)
    summary = (
        f"{len(FAULTS)} faults, {len(CALLS)} calls, {len(verdicts)} cells in {minutes:.1f} minutes; "
        f"{len(bad)} cells failed.\n\n{table(verdicts)}"
    )
    print(summary)
    if bad:
        print("\n" + by_cause(verdicts))
        print(f"\nrun one again: python -m tests.faults.matrix --only '{bad[0]['key']}' --json cell.json")
    if options.json is not None:
        again = "python -m tests.faults.matrix --only '{}'"
        found = [{**verdict, "again": again.format(verdict["key"])} for verdict in bad]
        options.json.write_text(json.dumps(found, indent=1), "utf-8")
    if options.write is not None:
        write_figures(options.write, summary)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
