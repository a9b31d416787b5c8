"""Removes the variables from the tracebacks of errors that are kept."""

from __future__ import annotations

from types import FrameType


def forget_variables(error: BaseException | None) -> None:
    """Remove the variables of all finished calls from the traceback of ``error`` and of its causes.

    Otherwise an error that a future keeps would keep these variables alive: the client, and with it the session
    and its heartbeats, until the garbage collector finds the cycle. The variables of calls that still run stay, so
    this must be called when the calls have ended.
    """
    for _ in range(10):  # causes of causes, which could be a circle
        if error is None:
            return
        traceback = error.__traceback__
        if traceback is not None:
            _clear_callers(traceback.tb_frame.f_back)
        while traceback is not None:
            _clear(traceback.tb_frame)
            traceback = traceback.tb_next
        error = error.__cause__ or error.__context__


def _clear_callers(frame: FrameType | None) -> None:
    """Clear ``frame`` and its callers, up to the first that still runs. All callers beyond it still run too."""
    while frame is not None and _clear(frame):
        frame = frame.f_back


def _clear(frame: FrameType) -> bool:
    try:
        frame.clear()
    except RuntimeError:  # it still runs
        return False
    return True
