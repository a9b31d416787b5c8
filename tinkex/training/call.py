"""One call of the user, and the requests by which it is sent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from tinkex.api.futures import Promise
from tinkex.errors import TinkerError
from tinkex.http.transport import Transport

R = TypeVar("R")
T = TypeVar("T")

Request = Callable[[Transport, str, int], Promise[T]]
"""Submits one request for a model id and a ``seq_id``. Called again with both, it sends the same bytes."""


@dataclass(frozen=True)
class Call(Generic[T, R]):
    """One call of the user, which is sent as one or several requests."""

    name: str
    """The name of the call in messages."""
    requests: Sequence[Request[T]]
    join: Callable[[Sequence[T]], R]
    """Makes the result of the call from the results of its requests, in their order."""
    parallel: bool = False
    """Send the other requests in parallel, and the first one last, so that the server starts when it has all."""
    all_or_nothing: bool = False
    """The state of the model is unknown if some requests succeed and others fail."""
    closing: TinkerError | None = None
    """Set for the call that frees the model: the error of all calls after the server has accepted this one."""

    @property
    def changes_model(self) -> bool:
        """Whether an unknown outcome leaves the state of the model unknown. Freeing a model can be repeated."""
        return self.closing is None


def single(name: str, request: Request[T], *, closing: TinkerError | None = None) -> Call[T, T]:
    """Return a call of one request."""
    return Call(name, [request], _only, closing=closing)


def _only(results: Sequence[T]) -> T:
    return results[0]
