"""Linear algebra (BLAS) runs on one thread while a server runs.

The matrices are small, so a second thread gains little, and on a busy machine OpenBLAS's threads spin while they
wait for each other, which made training five times slower when it was measured. A second thread also changes the
last bits of a result, while a training run that is resumed should give the same numbers. Work on several models
still uses several cores. The limit holds for the whole process, so it is lifted when the last server stops.
"""

from __future__ import annotations

import threading

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

_lock = threading.Lock()
_holders = 0
_release = threading.Event()
_keeper: threading.Thread | None = None


def hold_single_thread() -> None:
    """Limit BLAS to one thread until ``release_single_thread`` has been called as often as this function."""
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
    """Undo one call of ``hold_single_thread``."""
    global _holders
    with _lock:
        _holders -= 1
        if _holders == 0:
            _release.set()
            if _keeper is not None:
                _keeper.join(1)


def _keep(held: threading.Event, release: threading.Event) -> None:
    # This needs a thread, because only the thread that set OpenBLAS's limit can change it back.
    with ThreadpoolController().limit(limits=1, user_api="blas"):
        held.set()
        release.wait()
