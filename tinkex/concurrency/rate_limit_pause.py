"""The pause after a 429, which all samplers of a process with the same server and key observe."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

from tinkex.concurrency.shared import Shared


class Pause:
    """A gate that a 429 shuts for a while, for every thread that passes through it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = 0.0

    def shut(self, seconds: float) -> None:
        """Shut the gate for ``seconds``, or for longer if an earlier call asked for longer."""
        self._until = max(self._until, self._clock() + seconds)

    def pass_through(self, wait: Callable[[float], None]) -> None:
        """Return when the gate is open; call ``wait(seconds)`` to sleep until then."""
        while True:
            left = self._until - self._clock()
            if left <= 0:
                return
            wait(left)


_pauses: Shared[Hashable, Pause] = Shared(lambda identity: Pause())


def pause_of(identity: Hashable) -> Pause:
    """Return the gate shared by all clients of this process with the same server and key.

    The caller keeps a reference to the gate for as long as it uses it, because nothing else does.
    """
    return _pauses.of(identity)
