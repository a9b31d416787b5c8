"""Serving in the foreground: what ``tinkex serve`` and ``python -m tinkex.local`` do once the server runs."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinkex.local.server import LocalServer


def serve_until_signalled(server: LocalServer, announce: Callable[[], None], *, strict: bool) -> None:
    """Call ``announce``, and stop the running ``server`` after Ctrl-C or SIGTERM. ``strict`` prints its warnings."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    if strict:
        logging.getLogger("tinkex.local").addHandler(logging.StreamHandler())  # prints warnings on stderr
    try:
        announce()
        # The wait is short because Ctrl-C does not interrupt a longer one on Windows.
        while not ended.wait(0.5):
            pass
    finally:
        server.stop()
