"""Replies that a test scripts, in place of the answer of the embedded server."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Union

if TYPE_CHECKING:
    from tinkex.testing.requests import Request


@dataclass(frozen=True)
class Reply:
    """An answer: ``status``, ``body`` and ``headers``, sent after ``delay`` seconds.

    A body that is not bytes is sent as JSON. The content type is that of JSON unless ``headers`` say otherwise.
    """

    status: int = 200
    body: object = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0

    @property
    def content(self) -> bytes:
        """The body as bytes."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class Hang:
    """No answer until ``release`` is called, or ``seconds`` are over; then the reply ``then``.

    Without ``then``, that is the answer of the embedded server, which carries out the request only then. If the
    client gives up meanwhile, the request is not carried out at all.
    """

    def __init__(self, then: Scripted = None, *, seconds: float | None = None) -> None:
        self.then = then
        self.seconds = seconds
        self.released: threading.Event = threading.Event()

    def release(self) -> None:
        """Answer the requests that wait, and those that come later."""
        self.released.set()


@dataclass(frozen=True)
class Reset:
    """The connection breaks without an answer.

    With ``before`` it breaks before the body of the request is read, and with ``carried_out`` the embedded server
    carries out the request first. By default the request is read and not carried out.
    """

    before: bool = False
    carried_out: bool = False


@dataclass(frozen=True)
class Truncated:
    """The first part of an answer, after which the connection is closed.

    The answer is the reply ``of``, by default that of the embedded server, which carries out the request. ``at`` is
    how many bytes of the content are sent, by default half of it.
    """

    of: Scripted = None
    at: int | None = None


Scripted = Union[None, int, "dict[str, Any]", Reply, Hang, Reset, Truncated, Callable[["Request"], Any]]
"""A reply: a status, a JSON object, one of the classes of this module, or None for the embedded server's answer.

It may also be a function of the request that returns any of these.
"""
