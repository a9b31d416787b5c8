"""Tracebacks of errors that are kept: their lines, without the variables."""

from __future__ import annotations

from types import FrameType


def forget_variables(error: BaseException | None) -> None:
    """Drop the variables of all finished calls in the traceback of ``error`` and of its causes.

    An error that a future keeps would otherwise keep what those calls had: the client, and with it the session
    and its heartbeats, until the garbage collector finds the cycle. To be called where the calls are over; the
    variables of those that still run stay.
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
    """Clear ``frame`` and those that called it, up to the first one that still runs: all beyond it do, too."""
    while frame is not None and _clear(frame):
        frame = frame.f_back


def _clear(frame: FrameType) -> bool:
    try:
        frame.clear()
    except RuntimeError:  # it still runs
        return False
    return True
