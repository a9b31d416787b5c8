"""Counts and latencies of the HTTP calls of this process; ``tinkex.metrics`` shows them to users."""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections.abc import Mapping
from typing import NamedTuple

from tinkex.concurrency.at_fork import renew_after_fork

GROWTH = 1.1
"""Each latency bucket is wider than the one before by this factor, so a percentile is exact to 5 %."""
_BOUNDS = [1e-4 * GROWTH**power for power in range(164)]
"""The upper ends of the latency buckets in seconds, from 0.1 ms to nine minutes."""


class Endpoint(NamedTuple):
    """The finished calls to one endpoint. Times are in seconds, and include all tries of a call."""

    calls: int
    failed: int
    """Calls that ended with a status of 400 or more, or without an answer.

    A poll whose result is not ready yet ends with 408, so it counts as failed.
    """
    mean: float
    p50: float
    p90: float
    p99: float
    longest: float


class Snapshot(NamedTuple):
    """The counts since the process started or was forked, or since the last ``reset()``."""

    requests: int
    """Calls that have begun. A call counts once, however often it is tried."""
    in_flight: int
    """Calls that have begun and not ended."""
    retries: int
    failed: int
    bytes_out: int
    """Bytes of request bodies, as sent, over all tries."""
    bytes_in: int
    """Bytes of the bodies of answers, after decompression."""
    heartbeats_ok: int
    heartbeats_failed: int
    endpoints: Mapping[str, Endpoint]
    """The finished calls by the first part of their path: ``asample``, ``retrieve_future``, …"""


class _Calls:
    """The sums of one endpoint."""

    __slots__ = ("buckets", "calls", "failed", "longest", "seconds")

    def __init__(self) -> None:
        self.calls = self.failed = 0
        self.seconds = self.longest = 0.0
        self.buckets = [0] * (len(_BOUNDS) + 1)

    def percentile(self, share: float) -> float:
        """Return the latency in seconds that ``share`` of the calls (0 to 1) did not exceed.

        The value is the geometric mean of the bounds of its bucket.
        """
        wanted, seen = share * self.calls, 0
        for bound, count in zip(_BOUNDS, self.buckets):
            seen += count
            if count and seen >= wanted:
                return min(bound / math.sqrt(GROWTH), self.longest)
        return self.longest

    def read(self) -> Endpoint:
        """Return the statistics of these calls."""
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
    """All counts of the process, guarded by one lock that is held only for a few additions at a time.

    The lock is reentrant, because a signal handler may interrupt a thread that holds it and make a call.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.in_flight: set[object] = set()
        """The calls in flight. They are added without the lock: ``set.add`` is atomic, and far cheaper."""
        self.clear()
        renew_after_fork(self)

    def clear(self) -> None:
        """Count from zero; calls in flight still count as in flight."""
        with self._lock:
            self._ended = self._retries = self._bytes_out = self._bytes_in = 0
            self._endpoints: dict[str, _Calls] = {}

    def retry(self) -> None:
        """Count one more try of a call."""
        with self._lock:
            self._retries += 1

    def end(
        self, call: object, path: str, seconds: float, *, failed: bool | None, bytes_out: int, bytes_in: int
    ) -> None:
        """Count the end of ``call``.

        ``failed`` is None if the client gave the call up, which says nothing about the endpoint.
        """
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
        """Return the sums under the first part of ``path``. The rest of a path may be an id."""
        return self._endpoints.setdefault("/" + path.split("/", 2)[1], _Calls())

    def read(self) -> Snapshot:
        """Return the present counts."""
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
