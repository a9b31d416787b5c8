"""What the files of one download have in common: how far they are, how far they may go, when to end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError

from tinkex.download.paths import UnsafeDownloadError
from tinkex.http.transport import Transport

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there and the bytes there will be; None until every size is known."""
_STEP = 0.1


class Tracker:
    """Adds up the files of one download, holds them to ``max_bytes`` in all, and ends them together."""

    def __init__(
        self, transport: Transport, unwanted: Callable[[], bool], progress: Progress | None, max_bytes: int
    ) -> None:
        self._transport = transport
        self._unwanted = unwanted
        self._progress = progress
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._stopped = False
        self._done = 0
        self._sizes: dict[FileWatch, int | None] = {}

    def file(self) -> FileWatch:
        """The watch of one more file."""
        watch = FileWatch(self)
        self._sizes[watch] = None
        return watch

    def stop(self) -> None:
        """End every file at its next step."""
        self._stopped = True

    def check(self) -> None:
        """Raise ``CancelledError`` or ``ClientClosedError`` if the download shall end."""
        self.wait(0)

    def wait(self, seconds: float) -> None:
        """Sleep for ``seconds``, or raise as ``check`` does."""
        while True:
            if self._stopped or self._unwanted():
                raise CancelledError
            self._transport.wait(min(_STEP, max(0.0, seconds)))
            seconds -= _STEP
            if seconds <= 0:
                return

    def report(self, watch: FileWatch, moved: int = 0, size: int | None = None) -> None:
        """Pass on how far all files are, in turn; raises ``UnsafeDownloadError`` if that is too far."""
        with self._lock:
            self._done += moved
            if size is not None:
                self._sizes[watch] = size
            known = [size for size in self._sizes.values() if size is not None]
            if max(self._done, sum(known)) > self.max_bytes:
                raise UnsafeDownloadError(f"the checkpoint is larger than the {self.max_bytes} bytes allowed")
            if self._progress is not None:
                self._progress(self._done, sum(known) if len(known) == len(self._sizes) else None)


class FileWatch:
    """One file of a download; see ``fetch.Watch``."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self.check: Callable[[], None] = tracker.check
        self.wait: Callable[[float], None] = tracker.wait

    def size(self, total: int) -> None:
        self._tracker.report(self, size=total)

    def moved(self, count: int) -> None:
        if count:
            self._tracker.report(self, moved=count)
