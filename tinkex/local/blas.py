"""One BLAS thread while a server runs.

The matrices are small: a second thread gains little, and on a busy machine OpenBLAS's threads spin while
they wait for each other, which was measured to cost a factor of five. It also changes the last bits of a
result, and resumed training should repeat them. Work on several models still uses several cores. The limit
is the whole process's, so it is held only as long as there is a server.
"""

from __future__ import annotations

import threading

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

_lock = threading.Lock()
_holders = 0
_release = threading.Event()
_keeper: threading.Thread | None = None


def hold_single_thread() -> None:
    """Limit BLAS to one thread until as many calls of `release_single_thread` have followed."""
    global _holders, _keeper, _release
    with _lock:
        _holders += 1
        if _holders == 1:
            _release, held = threading.Event(), threading.Event()
            _keeper = threading.Thread(
                target=_keep, args=(held, _release), name="tinkex-local-blas", daemon=True
            )
            _keeper.start()
            held.wait(5)


def release_single_thread() -> None:
    """Undo one `hold_single_thread`."""
    global _holders
    with _lock:
        _holders -= 1
        if _holders == 0:
            _release.set()
            if _keeper is not None:
                _keeper.join(1)


def _keep(held: threading.Event, release: threading.Event) -> None:
    # A thread of its own, since threadpoolctl lets only the thread that set OpenBLAS's limit change it again.
    with ThreadpoolController().limit(limits=1, user_api="blas"):
        held.set()
        release.wait()
