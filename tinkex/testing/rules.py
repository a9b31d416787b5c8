"""What a test wants the server to answer instead: faults, each with a limit, and the order in which they apply."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from types import TracebackType

from tinkex.errors import InputError
from tinkex.testing.endpoints import matches, patterns_of
from tinkex.testing.replies import Reset, Scripted
from tinkex.testing.requests import Request


class Fault:
    """A change of what the server answers.

    It lasts until it has met ``times`` requests, until ``stop`` is called, until its ``with`` block ends, or until
    the test ends, whichever comes first.

    Example::

        from tinkex.testing import TinkerServer

        with TinkerServer() as server, tinkex.ServiceClient(config=server.config()) as service:
            with server.delay("get_server_capabilities", 0.01) as fault:
                service.get_server_capabilities()
            service.get_server_capabilities()  # at once
            assert fault.used == 1 and not fault.active
    """

    def __init__(
        self,
        endpoint: str,
        reply: Scripted = None,
        *,
        times: int | None = None,
        model: object = None,
        delay: float | None = None,
    ) -> None:
        if times is not None and (not isinstance(times, int) or isinstance(times, bool) or times < 1):
            raise InputError(f"times must be a whole number, at least 1, or None, not {times!r}")
        self.endpoint = endpoint
        self.reply = reply
        self.delay = delay
        """The seconds that an answer is delayed, whatever it is; None if ``reply`` is the answer."""
        self._patterns = patterns_of(endpoint)
        self.model: str | None = model_name(model)
        self._left = times
        self.counted: bool = times is not None
        """Whether the fault has a limit."""
        self._requests: list[Request] = []
        self._stopped = threading.Event()

    def __repr__(self) -> str:
        state = "active" if self.active else "over"
        return f"<Fault {self.endpoint} {state}, used {self.used} times>"

    @property
    def active(self) -> bool:
        """Whether the fault can still meet a request."""
        return not self._stopped.is_set() and self._left != 0

    @property
    def used(self) -> int:
        """How many requests the fault has met."""
        return len(self._requests)

    @property
    def requests(self) -> list[Request]:
        """The requests that the fault has met."""
        return list(self._requests)

    def stop(self) -> None:
        """End the fault. Requests that it has delayed already are not answered sooner."""
        self._stopped.set()

    def __enter__(self) -> Fault:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def fits(self, path: str, models: Collection[str]) -> bool:
        """Return whether the fault applies to a request to ``path`` that concerns ``models``."""
        return self.active and matches(path, self._patterns) and (self.model is None or self.model in models)

    def meet(self, request: Request) -> None:
        """Count a request. The caller holds the lock of the rules."""
        self._requests.append(request)
        if self._left is not None:
            self._left -= 1


class Rules:
    """The faults of one test. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        """Let ``fault`` begin."""
        with self._lock:
            self._faults = [each for each in self._faults if each.active]
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """End all faults."""
        with self._lock:
            ended, self._faults = self._faults, []
        for fault in ended:
            fault.stop()

    def break_before_body(self, path: str, request: Callable[[], Request]) -> Request | None:
        """Return the request if its connection breaks before its body is read, and count it; else None."""
        with self._lock:
            fault = self._first(path, ())
            if fault is None or not (isinstance(fault.reply, Reset) and fault.reply.before):
                return None
            met = request()
            fault.meet(met)
            return met

    def take(self, request: Request, models: Callable[[], Collection[str]]) -> tuple[float, Scripted]:
        """Return the delay of a request and the reply to it, and count it for the faults that it meets.

        ``models`` returns the names of the models that the request concerns.
        """
        concerned = models() if any(fault.model is not None for fault in self._faults) else ()
        with self._lock:
            delay = 0.0
            for each in self._faults:
                if each.delay is not None and each.fits(request.path, concerned):
                    each.meet(request)
                    delay += each.delay
            fault = self._first(request.path, concerned)
            if fault is None:
                return delay, None
            fault.meet(request)
            return delay, fault.reply

    def _first(self, path: str, models: Collection[str]) -> Fault | None:
        """The fault that decides: those with a limit come first, in their order; of the others, the newest."""
        deciding = [each for each in self._faults if each.delay is None and each.fits(path, models)]
        counted = next((each for each in deciding if each.counted), None)
        return counted or (deciding[-1] if deciding else None)


def model_name(model: object) -> str | None:
    """Return the name of a model that a fault is bound to, given as a name or as a client.

    Raises ``InputError`` for anything else.
    """
    for name in ("model_id", "sampling_session_id"):
        model = getattr(model, name, model)
    if model is not None and (not isinstance(model, str) or not model):
        raise InputError(
            f"model must be a client, the id of a model or the name of a base model, not {model!r}"
        )
    return model
