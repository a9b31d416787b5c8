"""One fault at one call: run, and judged."""

from __future__ import annotations

import gc
import itertools
import logging
import os
import secrets
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import tinkex

from .bench import MANY, START, Bench, Blocked, canonical, config, submit
from .catalogue import Fault
from .proxy import Mode

if TYPE_CHECKING:
    from .calls import Call

BOUND = 15.0
"""Seconds within which every call has to end, with the short times of ``bench.config``."""
PATIENCE = 2.5
"""How long a call is waited for that may wait for as long as the fault lasts."""
CLOSE_BOUND = 9.0
LEAVING = 3.0
"""How long threads and sockets may take to go after the client was closed."""
MEMORY = 256 << 20
"""Bytes by which the process may grow in one cell."""

Kind = Literal["hang", "lost", "doubled", "wrong", "untyped", "leak", "key", "memory"]
KINDS: tuple[Kind, ...] = ("hang", "lost", "doubled", "wrong", "untyped", "leak", "key", "memory")
_OURS = ("fault-", "waitress-", "tinkex-local-", "MainThread", "watch-")


@dataclass
class Verdict:
    """What became of a cell. ``ended`` is how the call ended, in a word or two."""

    key: str
    ended: str = ""
    hits: int = 0
    seconds: float = 0.0
    findings: list[tuple[Kind, str]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class Waiting(Exception):
    """The call has not ended; the server asked for patience, so it may."""


class Hanging(Exception):
    """The call has not ended."""


@dataclass(frozen=True)
class Part:
    """A request of a training run, and how often it may have been applied."""

    label: str
    allowed: tuple[int, ...]
    value: object = None


class Cell:
    """Runs ``fault`` at ``site`` of ``call``."""

    def __init__(self, bench: Bench, fault: Fault, call: Call, site: str, mode: Mode) -> None:
        self.bench = bench
        self.fault = fault
        self.call = call
        self.mode = mode
        self.key = f"tml-secret-{secrets.token_hex(8)}"
        self.number = secrets.token_hex(4)
        self.verdict = Verdict(f"{fault.name}:{call.name}.{site}:{mode}")
        self.have: dict[str, Any] = {}
        """What a call's preparation leaves for the call."""
        self.value: Any = None
        self.error: BaseException | None = None
        self.stuck = False
        """Something still runs in this process that nothing ends."""
        self._site = call.sites[site]
        self._texts: list[str] = []
        self._errors: list[BaseException] = []
        self._services: list[Any] = []
        self._futures: list[Any] = []

    # ---- for the calls ----

    @property
    def blind(self) -> bool:
        """Whether nobody could tell that a value is wrong."""
        return self.fault.blind or self.fault.name in self.call.blind

    def url(self) -> str:
        """The proxy's URL: one of its own for a call that is to meet the server for the first time."""
        return f"{self.bench.proxy.url}/{self.number}" if self.call.first_contact else self.bench.proxy.url

    def service(self, **settings: Any) -> tinkex.ServiceClient:
        """A client through the proxy, closed at the end."""
        beat: float = settings.pop("heartbeat_interval", 10.0)  # so that the heartbeat's threads are its own
        made = config(self.url(), self.key, **settings)
        service = tinkex.ServiceClient(config=made, heartbeat_interval=beat)
        self._services.append(service)
        return service

    def wait(self, future: Any) -> Any:
        """The result of ``future``; ``Waiting`` or ``Hanging`` if there is none in time."""
        self._futures.append(future)
        patient = (self.fault.patient or self.call.patient) and self.mode == "ever"
        seconds = PATIENCE if patient else BOUND
        try:
            return future.result(seconds)
        except (TimeoutError, futures.TimeoutError) as error:  # one and the same from Python 3.11 on
            if future.done():
                raise  # the call's own
            raise (Waiting if patient else Hanging)(f"no result within {seconds:g} s") from error

    def find(self, kind: Kind, text: str) -> None:
        self.verdict.findings.append((kind, text))

    def saw(self, error: BaseException) -> None:
        """Keep an error for the judgement of its type and its text."""
        self._errors.append(error)

    @property
    def refused_by_lie(self) -> bool:
        """Whether the fault is a refusal that the client had every reason to believe."""
        return self.fault.own

    # ---- the run ----

    def run(self) -> Verdict:
        began = time.monotonic()
        proxy = self.bench.proxy
        threads = set(threading.enumerate())
        _forget_peak()
        memory = _peak()
        self.bench.other.requests.clear()
        proxy.log.clear()
        proxy.flags, proxy.standing = dict(self.call.flags), dict(self.call.standing)
        with self._listening():
            try:
                self._run_call()
            finally:
                proxy.disarm()
                self._close()
                proxy.flags, proxy.standing = {}, {}
            self._judge_errors()
        self.verdict.log = list(proxy.log)[-12:] if self.verdict.findings else []
        if not self.stuck:
            self._judge_leaks(threads)
        grown = _peak() - memory
        if grown > MEMORY:
            self.find("memory", f"grew by {grown >> 20} MB")
            self.stuck = True  # what grew may go on growing
        self._judge_key()
        self.verdict.seconds = round(time.monotonic() - began, 3)
        return self.verdict

    def _run_call(self) -> None:
        proxy = self.bench.proxy
        try:
            self.call.prepare(self)
        except Exception as error:
            # Without a fault, so this is the bench's own trouble, as a machine that is far too busy.
            self.verdict.ended = f"not prepared: {type(error).__name__}"
            self.find("wrong", f"not prepared: {error!r}")
            return
        plan = proxy.arm(self._site, self.fault.plays, self.mode)
        try:
            self.value = self.guarded(lambda: self.call.act(self), BOUND + 5)
            self.verdict.ended = "ok"
        except Waiting:
            self.verdict.ended = "still waiting, as asked"
            return
        except Hanging as error:
            self.verdict.ended = "hang"
            self.find("hang", str(error))
            return
        except BaseException as error:
            self.error = error
            self.verdict.ended = type(error).__name__
            self.saw(error)
        finally:
            self.verdict.hits = plan.hits
            proxy.disarm()
        try:
            self.guarded(lambda: self.call.judge(self), 2 * BOUND)
        except Hanging as error:
            self.find("hang", f"after the call: {error}")
        except Blocked as error:
            self.find("lost", f"the model's queue has a gap: {error}")
        except Exception as error:
            self.saw(error)
            if not self.blind:
                self.find("wrong", f"after the call: {error!r}")

    def guarded(self, work: Callable[[], Any], seconds: float) -> Any:
        """``work()`` on a thread of its own; ``Hanging`` if it takes longer."""
        outcome: list[Any] = []

        def run() -> None:
            try:
                outcome.append((work(), None))
            except BaseException as error:
                outcome.append((None, error))

        thread = threading.Thread(target=run, name="watch-call", daemon=True)
        thread.start()
        thread.join(seconds)
        if not outcome:
            self.stuck = True
            where = "".join(traceback.format_stack(sys._current_frames().get(thread.ident or 0)))
            raise Hanging(f"blocked for {seconds:g} s in {where[-600:]}")
        value, error = outcome[0]
        if error is not None:
            raise error
        return value

    def _close(self) -> None:
        for service in reversed(self._services):
            try:
                self.guarded(service.close, CLOSE_BOUND)
            except Hanging as error:
                self.find("hang", f"close(): {error}")
            except Exception as error:
                self.saw(error)
                self.find("wrong", f"close() raised {error!r}")
        self._services.clear()
        end = time.monotonic() + LEAVING
        for future in self._futures:
            while not future.done() and time.monotonic() < end:
                time.sleep(0.01)
            if not future.done():
                self.find("hang", "a result is waited for although the client was closed")
                self.stuck = True
        self._futures.clear()

    # ---- the judgement ----

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Hear every log record, every warning, and every error that ends a thread."""
        handler = _Records(self)
        root, level = logging.getLogger(), logging.getLogger().level
        ours = logging.getLogger("tinkex")
        before, propagate, hook = ours.level, ours.propagate, threading.excepthook
        root.addHandler(handler)
        root.setLevel(logging.DEBUG)
        ours.setLevel(logging.DEBUG)
        ours.propagate = True

        def died(args: Any) -> None:
            self.saw(args.exc_value)
            name = args.thread.name if args.thread else "?"
            if not name.startswith("fault-"):
                self.find("untyped", f"thread {name} died of {args.exc_value!r}")

        threading.excepthook = died
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                yield
            self._texts += [str(warning.message) for warning in caught]
        finally:
            root.removeHandler(handler)
            root.setLevel(level)
            ours.setLevel(before)
            ours.propagate = propagate
            threading.excepthook = hook

    def heard(self, record: logging.LogRecord) -> None:
        self._texts.append(logging.Formatter().format(record))
        if (
            record.name.startswith("tinkex")
            and not record.name.startswith("tinkex.local")
            and record.exc_info
        ):
            self.find("untyped", f"logged with a traceback: {record.getMessage()}: {record.exc_info[1]!r}")

    def _judge_errors(self) -> None:
        for error in self._errors:
            if not isinstance(error, (tinkex.TinkerError, Waiting, Hanging, Blocked)):
                lines = traceback.format_exception(error)
                self.find("untyped", f"{error!r}"[:300] + f" at {_last_places(lines)}")
            for one in _chain(error):
                self._texts += [str(one), repr(one)]
                if isinstance(one, tinkex.TinkerError):  # whose attributes are there to be looked at
                    self._texts.append(repr(one.__dict__))
            self._texts += traceback.format_exception(error)
        self._errors.clear()
        self.error = self.value = None
        self.have.clear()

    def _judge_key(self) -> None:
        secrets_of_call = [self.key, *self.call.secrets]
        for text in self._texts:
            for secret in secrets_of_call:
                if secret in text:
                    at = text.index(secret)
                    self.find("key", text[max(0, at - 120) : at + 60].replace(secret, "<KEY>"))
                    return
        for head in self.bench.other.requests:
            if any(secret in head for secret in secrets_of_call):
                self.find("key", f"sent to another host: {head[:80]!r}")
                return

    def _judge_leaks(self, before: set[threading.Thread]) -> None:
        end = time.monotonic() + LEAVING
        while True:
            threads = [
                thread.name
                for thread in threading.enumerate()
                if thread not in before and not thread.name.startswith(_OURS)
            ]
            sockets = _sockets_to({self.bench.proxy.port, self.bench.other.port})
            if not threads and not sockets:
                return
            if time.monotonic() > end:
                break
            gc.collect()
            time.sleep(0.02)
        if threads:
            self.stuck = True
            self.find("leak", f"threads {sorted(threads)}")
        if sockets:
            self.find("leak", f"{sockets} sockets")


class Trainee:
    """A training client whose every request is remembered, with how often it may have been applied."""

    def __init__(self, cell: Cell, client: tinkex.TrainingClient, start: str = START) -> None:
        self.cell = cell
        self.client = client
        self.start = start
        self.parts: list[Part] = []
        self.saved = cell.bench.state_path
        self.poisoned = False
        self.waiting = False
        self._prepared = 0

    def surely(self, *labels: str) -> None:
        """Do this without a fault."""
        for label in labels:
            value = submit(self.client, label, self.saved).result(60)
            self.saved = getattr(value, "path", None) or self.saved
            self._add(label, (1,), value)
        self._prepared = len(self.parts)

    def call(self, *labels: str) -> Any:
        """Do all this at once; the last value. The first error is raised when all have ended."""
        begun: list[Any] = []
        for label in labels:
            try:
                begun.append(submit(self.client, label, self.saved))
            except Exception as error:
                begun.append(error)
        errors: list[BaseException] = []
        value: Any = None
        for label, future in zip(labels, begun, strict=True):
            try:
                if isinstance(future, Exception):
                    raise future
                value = self.cell.wait(future)
                self._add(label, (1,), value)
            except tinkex.ClientPoisonedError as error:
                self.poisoned = True
                self._add(label, (0, 1))
                errors.append(error)
            except (Waiting, Hanging) as error:
                self.waiting = True
                self._add(label, (0, 1))
                errors.append(error)
            except Exception as error:
                self._add(label, (0, 1) if self.cell.refused_by_lie else (0,))
                errors.append(error)
        for later in errors[1:]:
            self.cell.saw(later)
        if errors:
            hang = next((one for one in errors if isinstance(one, Hanging)), None)
            raise hang or errors[0]
        return value

    def verify(self) -> None:
        """Go on as a user would, then compare what the server has done with what was promised."""
        if self.poisoned:
            self._stays_poisoned()
        elif not self.waiting:
            try:
                self.call("D", "O")
            except Exception as error:
                self.cell.saw(error)
                if not (self.cell.refused_by_lie or self.cell.blind):
                    self.cell.find("wrong", f"the next calls do not work: {error!r}"[:400])
        try:
            state = self.cell.bench.state(self.client.model_id)
        except Blocked:
            if self.poisoned:
                return  # as it says, nobody can know
            raise
        self._compare(state)

    def _stays_poisoned(self) -> None:
        try:
            self.cell.wait(submit(self.client, "D"))
        except tinkex.ClientPoisonedError:
            return
        except Exception as error:
            self.cell.saw(error)
            self.cell.find("wrong", f"poisoned, and then {error!r}"[:300])
        else:
            self.cell.find("wrong", "poisoned, and yet it went on")
            self.parts.append(Part("D", (1,)))

    def _compare(self, state: object) -> None:
        bench = self.cell.bench
        found = next((counts for counts in self._promised() if self._known(counts).state == state), None)
        if found is not None:
            self._compare_values(found)
            return
        labels = " ".join(f"{part.label}{list(part.allowed)}" for part in self.parts)
        for counts in self._broken():
            if bench.run_without_faults(self.start, self._sequence(counts)).state == state:
                said = f"promised {labels}, applied {' '.join(self._sequence(counts))}"
                lost = any(count < min(p.allowed) for count, p in zip(counts, self.parts, strict=True))
                self.cell.find("lost" if lost else "doubled", said)
                return
        # Parts of a call that were refused by a lie may be carried out later, in another order.
        if not self.cell.refused_by_lie:
            self.cell.find("wrong", f"the model's state is none that {labels} could give")

    def _compare_values(self, counts: Sequence[int]) -> None:
        if self.cell.blind:
            return
        results = iter(self._known(counts).results)
        for part, count in zip(self.parts, counts, strict=True):
            known = [next(results) for _ in range(count)]
            if part.value is not None and known and part.value != known[0]:
                self.cell.find(
                    "wrong", f"{part.label} gave {part.value!r}"[:200] + f", not {known[0]!r}"[:200]
                )

    def _known(self, counts: Sequence[int]) -> Any:
        return self.cell.bench.run_without_faults(self.start, self._sequence(counts))

    def _sequence(self, counts: Sequence[int]) -> tuple[str, ...]:
        return tuple(
            label for part, count in zip(self.parts, counts, strict=True) for label in [part.label] * count
        )

    def _promised(self) -> Iterator[tuple[int, ...]]:
        return itertools.product(*(part.allowed for part in self.parts))

    def _broken(self) -> Iterator[tuple[int, ...]]:
        """Counts that break a promise, those of one request first, and first of the requests under the fault."""
        places = [*range(self._prepared, len(self.parts)), *range(self._prepared)]
        for counts in self._promised():
            for at in places:
                for count in (0, 1, 2):
                    if count not in self.parts[at].allowed:
                        yield (*counts[:at], count, *counts[at + 1 :])
        for counts in itertools.product(*((0, 1) for _ in self.parts)):
            yield counts

    def _add(self, label: str, allowed: tuple[int, ...], value: object = None) -> None:
        if label == "M":
            self.parts += [Part(one, allowed) for one in MANY]
        else:
            self.parts.append(Part(label, allowed, None if value is None else canonical(value)))


class _Records(logging.Handler):
    def __init__(self, cell: Cell) -> None:
        super().__init__(logging.DEBUG)
        self._cell = cell

    def emit(self, record: logging.LogRecord) -> None:
        self._cell.heard(record)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            todo += [one.__cause__, one.__context__]


def _last_places(lines: list[str]) -> str:
    places = [line.strip().splitlines()[0] for line in lines if line.strip().startswith("File")]
    return "; ".join(place.replace('"', "").split("/")[-1] for place in places[-3:])


def _forget_peak() -> None:
    """Begin to measure the peak of memory anew, where the system can."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass


def _peak() -> int:
    try:
        with open("/proc/self/status") as file:
            lines = dict(line.split(":", 1) for line in file if ":" in line)
        return int(lines["VmHWM"].split()[0]) << 10
    except (OSError, KeyError):
        return 0


def _sockets_to(ports: set[int]) -> int:
    """How many sockets of this process are connected to one of ``ports``, where the system tells."""
    try:
        with open("/proc/self/net/tcp") as file:
            rows = [line.split() for line in file][1:]
        inodes = {row[9] for row in rows if int(row[2].rpartition(":")[2], 16) in ports}
        held = 0
        for number in os.listdir("/proc/self/fd"):
            try:
                link = os.readlink(f"/proc/self/fd/{number}")
            except OSError:
                continue
            held += link.startswith("socket:[") and link[8:-1] in inodes
        return held
    except OSError:
        return 0
