"""The progress of all files of one download, their common size limit, and their common end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError

from tinkex.download.paths import UnsafeDownloadError
from tinkex.http.transport import Transport

Progress = Callable[[int, int | None], None]
"""A function that is called with the bytes that have arrived, and with the bytes of all files.

The second number is None until the size of every file is known."""
_STEP = 0.1
"""While a download sleeps, it looks every so many seconds whether it is to end."""


class Tracker:
    """Adds up the progress of the files of one download, limits their size, and ends them together."""

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
        """Return the watch of another file."""
        watch = FileWatch(self)
        self._sizes[watch] = None
        return watch

    def stop(self) -> None:
        """End the download of every file at its next step."""
        self._stopped = True

    def check(self) -> None:
        """Raise ``CancelledError`` or ``ClientClosedError`` if the download is to end."""
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
        """Record the progress of one file, and call the ``progress`` function with that of all files.

        Raises ``UnsafeDownloadError`` if the files have more than ``max_bytes`` bytes together.
        """
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
    """The watch of one file of a download, as a ``fetch.Watch``."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self.check: Callable[[], None] = tracker.check
        self.wait: Callable[[float], None] = tracker.wait

    def size(self, total: int) -> None:
        """Record that the file has ``total`` bytes."""
        self._tracker.report(self, size=total)

    def moved(self, count: int) -> None:
        """Record that ``count`` more bytes have arrived."""
        if count:
            self._tracker.report(self, moved=count)
