"""Warnings that point at the line of the user's program that caused them."""

from __future__ import annotations

import sys
import warnings

from tinkex.errors import ServerWarning


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn at the line that called into the package, however many frames of the package lie between.

    From Python 3.12 on ``warnings.warn`` does this by itself, with ``skip_file_prefixes``.
    """
    frame, level = sys._getframe(1), 2  # stacklevel=2 means the caller of this function
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("tinkex."):
        frame, level = frame.f_back, level + 1
    warning = category(message)
    vars(warning)["issued_by"] = "tinkex"
    warnings.warn(warning, stacklevel=level)


def is_ours(warning: object) -> bool:
    """Return whether this package has issued ``warning``. Its place does not tell."""
    return isinstance(warning, ServerWarning) or getattr(warning, "issued_by", None) == "tinkex"
