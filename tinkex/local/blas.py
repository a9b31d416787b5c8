"""One BLAS thread while the model computes.

The matrices are small: a second thread gains little, and on a busy machine OpenBLAS's threads spin while
they wait for each other, which was measured to cost a factor of five. Work on several models still uses
several cores. The limit belongs to the process, so it is held only while something computes.
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any

from threadpoolctl import ThreadpoolController


class SingleThreadedBlas:
    """A context manager that threads may enter together; the last one out restores the setting."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._controller = ThreadpoolController()
        self._limiter: Any = None

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._limiter = self._controller.limit(limits=1, user_api="blas")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._limiter.restore_original_limits()
