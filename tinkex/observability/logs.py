"""The ``tinkex`` logger: silent until someone listens, and never with a secret."""

from __future__ import annotations

import logging
import warnings

from tinkex.observability.redact import redact

logger: logging.Logger = logging.getLogger("tinkex")

FORMAT = "%(asctime)s %(levelname)-7s %(name)s %(message)s"
LEVELS = ("debug", "info", "warning", "error")


class _HideSecrets(logging.Filter):
    """Takes credentials out of a record before any handler, ours or the user's, sees it."""

    def filter(self, record: logging.LogRecord) -> bool:
        shown = record.getMessage()
        clean = redact(shown)
        if clean != shown:
            record.msg, record.args = clean, None
        if record.exc_info and not record.exc_text:
            # A formatter takes the text that is there instead of making its own.
            record.exc_text = redact(logging.Formatter().formatException(record.exc_info))
        return True


class _Terminal(logging.StreamHandler):  # type: ignore[type-arg]
    """Shows records on stderr, unless the program has set up logging and so shows them its own way."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().hasHandlers():
            super().emit(record)


def quiet() -> None:
    """A library's manners: nothing is printed, not even warnings, unless someone asks for it."""
    logger.addHandler(logging.NullHandler())
    logger.addFilter(_HideSecrets())


def show(level: str) -> None:
    """Show records from ``level`` (``debug``, ``info``, ``warning`` or ``error``) on, on stderr."""
    if level.lower() not in LEVELS:
        warnings.warn(f"TINKER_LOG must be one of {', '.join(LEVELS)}, not {level!r}", stacklevel=2)
        return
    handler = _Terminal()
    handler.setFormatter(logging.Formatter(FORMAT))
    logger.addHandler(handler)
    logger.setLevel(level.upper())
