"""Counters and latencies of all HTTP calls of this process, tokens used, and hooks that are called for each call.

Example::

    tinkex.metrics.reset()
    with tinkex.ServiceClient(base_url="local://") as service:
        service.create_sampling_client(base_model="tinkex/byte-lm")
    for path, endpoint in tinkex.metrics.snapshot().endpoints.items():
        print(path, endpoint.calls, endpoint.p99)  # the latter in seconds

Counting is always on, and adds a few microseconds to a call.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from tinkex.concurrency.tally import process_tally
from tinkex.http.counters import Endpoint, Snapshot, counters
from tinkex.observability.hooks import (
    RequestEvent,
    ResponseEvent,
    RetryEvent,
    on_request,
    on_response,
    on_retry,
)

if TYPE_CHECKING:
    from tinkex.usage import ModelUsage, Prices, Usage

__all__ = [
    "Endpoint",
    "ModelUsage",
    "Prices",
    "RequestEvent",
    "ResponseEvent",
    "RetryEvent",
    "Snapshot",
    "Usage",
    "on_request",
    "on_response",
    "on_retry",
    "reset",
    "snapshot",
    "usage",
]


def snapshot() -> Snapshot:
    """Return the present counts."""
    return counters.read()


def usage(prices: Prices | None = None) -> Usage:
    """Return how many tokens all sessions of this process have prefilled, sampled and trained, per model.

    ``prices`` are as in ``ServiceClient.usage``. Where a sampler or a model was made from a checkpoint and its base
    model was never named, the path of the checkpoint stands in its place.
    """
    from tinkex.usage import usage_of

    return usage_of(process_tally, prices)


def reset() -> None:
    """Count from zero; calls in flight still count as in flight."""
    counters.clear()
    process_tally.clear()


if not TYPE_CHECKING:  # a type checker reads the import above instead

    def __getattr__(name: str) -> object:
        # Imported when one of its names is first used, which few programs do.
        if name in ("ModelUsage", "Prices", "Usage"):
            return getattr(import_module("tinkex.usage"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
