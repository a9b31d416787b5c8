"""A progress bar on stderr, shown only on a terminal, and only for work that takes more than a second."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Update = Callable[[int, "int | None"], None]
"""A function that is called with the amount done and the whole amount, or None if that is unknown."""
NotedUpdate = Callable[[int, "int | None", str], None]
"""An ``Update`` with a third argument: a note to show behind the bar."""

SHOW_AFTER = 1.0
"""The bar appears after this many seconds."""


@contextmanager
def progress(label: str, *, in_bytes: bool = False) -> Iterator[Update]:
    """Show the progress of a ``with`` block, which reports it by calling the yielded function."""
    with _shown(_Bar(label, in_bytes=in_bytes)) as bar:
        yield bar.update


@contextmanager
def noted_progress(label: str) -> Iterator[NotedUpdate]:
    """Show the progress of a ``with`` block, with notes and the time left."""
    with _shown(_Bar(label, time_left=True)) as bar:
        yield bar.update


@contextmanager
def _shown(bar: _Bar) -> Iterator[_Bar]:
    if not sys.stderr.isatty():
        yield bar
        return
    timer = threading.Timer(SHOW_AFTER, bar.start)
    timer.name = "tinkex-progress"
    timer.daemon = True
    timer.start()
    try:
        yield bar
    finally:
        timer.cancel()
        bar.stop()


class _Bar:
    """A bar that a timer's thread starts later, with the progress that was reported until then."""

    def __init__(self, label: str, *, in_bytes: bool = False, time_left: bool = False) -> None:
        self._label = label
        self._in_bytes = in_bytes
        self._time_left = time_left
        self._lock = threading.Lock()
        self._bar: Any = None
        self._task: Any = None
        self._state: tuple[int, int | None, str] = (0, None, "")
        self._stopped = False

    def start(self) -> None:
        from rich import progress as rich
        from rich.console import Console

        amount = rich.DownloadColumn() if self._in_bytes else rich.MofNCompleteColumn()
        columns = [rich.TextColumn("{task.description}"), rich.BarColumn(), amount, rich.TimeElapsedColumn()]
        if self._time_left:
            columns += [
                rich.TextColumn("{task.fields[note]}"),
                rich.TimeRemainingColumn(),
                rich.TextColumn("left"),
            ]
        with self._lock:
            if not self._stopped:
                self._bar = rich.Progress(
                    *columns,
                    console=Console(stderr=True),
                    transient=True,
                    # On a terminal, output is printed above the bar. A file must get it unchanged.
                    redirect_stdout=sys.stdout.isatty(),
                )
                self._task = self._bar.add_task(self._label, total=None, note="")
                self._bar.start()
                self._show()

    def update(self, done: int, total: int | None, note: str = "") -> None:
        with self._lock:
            self._state = (done, total, note)
            self._show()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            if self._bar is not None:
                self._bar.stop()

    def _show(self) -> None:
        if self._bar is not None:
            done, total, note = self._state
            self._bar.update(self._task, completed=done, total=total, note=note)
