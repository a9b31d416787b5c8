"""Warnings that a server sends beside an answer, in the header ``Warning``, shown as warnings of Python."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Callable

from tinkex.errors import ServerWarning

_WARNING = re.compile(r'299 \S+ "((?:[^"\\]|\\.)*)"')
_LONGEST = 2000


def show(header: str, server: str, redact: Callable[[str], str]) -> None:
    """Issue each warning of code 299 in ``header``, which came from ``server``. ``redact`` hides secrets."""
    for quoted in _WARNING.findall(header):
        issue(redact(re.sub(r"\\(.)", r"\1", quoted)[:_LONGEST]), server)


def issue(text: str, server: str) -> None:
    """Issue a ``ServerWarning``.

    If the program turns the warning into an error, the error goes to ``threading.excepthook``, where test runners
    look: raised here, it would make a request fail that has succeeded.
    """
    try:
        # The line of the program that is to blame is unknown on this thread, so the server stands in its place.
        warnings.warn_explicit(text, ServerWarning, server, 1)
    except ServerWarning as error:
        thread = threading.current_thread()
        threading.excepthook(threading.ExceptHookArgs((type(error), error, error.__traceback__, thread)))
