"""The ``tinkex`` logger: it prints nothing unless the user asks for it, and never a secret."""

from __future__ import annotations

import logging
import warnings

from tinkex.observability.redact import redact

logger: logging.Logger = logging.getLogger("tinkex")

FORMAT = "%(asctime)s %(levelname)-7s %(name)s %(message)s"
LEVELS = ("debug", "info", "warning", "error")


class _HideSecrets(logging.Filter):
    """Removes credentials from a record before any handler, including the user's, receives it."""

    def filter(self, record: logging.LogRecord) -> bool:
        shown = record.getMessage()
        clean = redact(shown)
        if clean != shown:
            record.msg, record.args = clean, None
        if record.exc_info and not record.exc_text:
            # A formatter uses exc_text if it is set, instead of formatting the exception itself.
            record.exc_text = redact(logging.Formatter().formatException(record.exc_info))
        return True


class _StderrHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Prints records on stderr, unless the root logger has handlers, which then print them."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().hasHandlers():
            super().emit(record)


def quiet() -> None:
    """Print nothing, not even warnings, unless the user configures logging."""
    logger.addHandler(logging.NullHandler())
    logger.addFilter(_HideSecrets())


def show(level: str) -> None:
    """Print records of ``level`` (``debug``, ``info``, ``warning`` or ``error``) or higher on stderr.

    Another value of ``level`` has no effect but a warning.
    """
    if level.lower() not in LEVELS:
        warnings.warn(f"TINKER_LOG must be one of {', '.join(LEVELS)}, not {level!r}", stacklevel=2)
        return
    handler = _StderrHandler()
    handler.setFormatter(logging.Formatter(FORMAT))
    logger.addHandler(handler)
    logger.setLevel(level.upper())
