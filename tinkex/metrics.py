"""Counters and latencies of all HTTP calls of this process, and hooks that are called for each of them.

Example::

    tinkex.metrics.reset()
    with tinkex.ServiceClient(base_url="local://") as service:
        service.create_sampling_client(base_model="tinkex/byte-lm")
    for path, endpoint in tinkex.metrics.snapshot().endpoints.items():
        print(path, endpoint.calls, endpoint.p99)  # the latter in seconds

Counting is always on, and adds a few microseconds to a call.
"""

from __future__ import annotations

from tinkex.http.counters import Endpoint, Snapshot, counters
from tinkex.observability.hooks import (
    RequestEvent,
    ResponseEvent,
    RetryEvent,
    on_request,
    on_response,
    on_retry,
)

__all__ = [
    "Endpoint",
    "RequestEvent",
    "ResponseEvent",
    "RetryEvent",
    "Snapshot",
    "on_request",
    "on_response",
    "on_retry",
    "reset",
    "snapshot",
]


def snapshot() -> Snapshot:
    """Return the present counts."""
    return counters.read()


def reset() -> None:
    """Count from zero; calls in flight still count as in flight."""
    counters.clear()
