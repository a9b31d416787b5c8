"""Counters and latencies of all calls of this process, and hooks for one's own.

    before = tinkex.metrics.snapshot()
    ...
    print(tinkex.metrics.snapshot().endpoints["asample"].p99)

Always on: it adds a few microseconds to a call, of which the lock takes half of one.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections.abc import Mapping
from typing import NamedTuple

from tinkex.concurrency.at_fork import renew_after_fork
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

GROWTH = 1.1
_BOUNDS = [1e-4 * GROWTH**power for power in range(164)]
"""Upper ends of the latency buckets, from 0.1 ms to nine minutes: a percentile is good to 5 %."""


class Endpoint(NamedTuple):
    """The calls to one endpoint that are over. Times are in seconds, of whole calls with all their tries."""

    calls: int
    failed: int
    """Ended with a status of 400 or more, or without an answer. For polls that includes "not yet" as 408."""
    mean: float
    p50: float
    p90: float
    p99: float
    longest: float


class Snapshot(NamedTuple):
    """What has been counted since the process started, was forked, or since ``reset()``."""

    requests: int
    """Calls begun, each counted once however often it was tried."""
    in_flight: int
    """Calls begun and not over yet."""
    retries: int
    failed: int
    bytes_out: int
    """Of request bodies as sent, over all tries."""
    bytes_in: int
    """Of answers' bodies, unpacked."""
    heartbeats_ok: int
    heartbeats_failed: int
    endpoints: Mapping[str, Endpoint]
    """By the first part of the path: ``asample``, ``retrieve_future``, …"""


class _Calls:
    """The sums of one endpoint."""

    __slots__ = ("buckets", "calls", "failed", "longest", "seconds")

    def __init__(self) -> None:
        self.calls = self.failed = 0
        self.seconds = self.longest = 0.0
        self.buckets = [0] * (len(_BOUNDS) + 1)

    def percentile(self, share: float) -> float:
        """The latency that ``share`` of the calls did not exceed: the geometric middle of its bucket."""
        wanted, seen = share * self.calls, 0
        for bound, count in zip(_BOUNDS, self.buckets):
            seen += count
            if count and seen >= wanted:
                return min(bound / math.sqrt(GROWTH), self.longest)
        return self.longest

    def read(self) -> Endpoint:
        return Endpoint(
            self.calls,
            self.failed,
            self.seconds / self.calls,
            self.percentile(0.5),
            self.percentile(0.9),
            self.percentile(0.99),
            self.longest,
        )


class Counters:
    """All counts of the process, under one lock that is held for a few additions at a time.

    The lock is reentrant because a signal handler may make a call in the midst of another.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.in_flight: set[object] = set()
        """The calls that are not over. A set's ``add`` is atomic and costs an eighth of what the lock does."""
        self.clear()
        renew_after_fork(self)

    def clear(self) -> None:
        """Count from zero; calls in flight stay in flight."""
        with self._lock:
            self._ended = self._retries = self._bytes_out = self._bytes_in = 0
            self._endpoints: dict[str, _Calls] = {}

    def retry(self) -> None:
        """A call is tried again."""
        with self._lock:
            self._retries += 1

    def end(
        self, call: object, path: str, seconds: float, failed: bool | None, bytes_out: int, bytes_in: int
    ) -> None:
        """``call`` is over; ``failed`` is None if it was given up here, which says nothing about the server."""
        bucket = bisect_left(_BOUNDS, seconds)
        with self._lock:
            self.in_flight.discard(call)
            self._ended += 1
            self._bytes_out += bytes_out
            self._bytes_in += bytes_in
            if failed is None:
                return
            calls = self._endpoints.get(path) or self._endpoint(path)
            calls.calls += 1
            calls.failed += failed
            calls.seconds += seconds
            calls.buckets[bucket] += 1
            if seconds > calls.longest:
                calls.longest = seconds

    def _endpoint(self, path: str) -> _Calls:
        """The sums under the first part of ``path``, for what follows may be an id."""
        return self._endpoints.setdefault("/" + path.split("/", 2)[1], _Calls())

    def read(self) -> Snapshot:
        """The counts of one moment."""
        with self._lock:
            endpoints = {name[1:]: calls.read() for name, calls in self._endpoints.items()}
            beats = self._endpoints.get("/session_heartbeat") or _Calls()
            return Snapshot(
                requests=self._ended + len(self.in_flight),
                in_flight=len(self.in_flight),
                retries=self._retries,
                failed=sum(endpoint.failed for endpoint in endpoints.values()),
                bytes_out=self._bytes_out,
                bytes_in=self._bytes_in,
                heartbeats_ok=beats.calls - beats.failed,
                heartbeats_failed=beats.failed,
                endpoints=endpoints,
            )

    def _after_fork(self) -> None:
        self._lock = threading.RLock()
        self.in_flight = set()
        self.clear()


counters: Counters = Counters()


def snapshot() -> Snapshot:
    """The counts of this moment."""
    return counters.read()


def reset() -> None:
    """Count from zero. Calls in flight stay in flight."""
    counters.clear()
