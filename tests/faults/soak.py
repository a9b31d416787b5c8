"""A long mixed load under faults and kills, compared bit for bit with a run that had none.

    python -m tests.faults.soak --minutes 15

One thread trains with ``tinkex.recovery.Run``: two steps on their way at once, saved every few steps. Others
sample, save and load, and list, each with clients of its own. One request in twenty meets a fault, and every
half minute the server's process is killed and started again on the same folder. In the end the trained model
must be, bit for bit, the one that the same steps give without any of this.
"""

from __future__ import annotations

import argparse
import collections
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import tinkex
from tinkex import recovery, types
from tinkex.local import LocalServer

from .bench import BASE_MODEL, RANK, SEED, adam, config, data
from .catalogue import FAULTS, Fault
from .matrix import write_figures
from .proxy import FaultProxy, Play, Request

SHARE = 0.05
SAVE_EVERY = 10
KILL_EVERY = 30.0
SLICE = 20
"""Steps of one call of ``train``; after each the clock is looked at."""
_BATCHES = ("A", "B", "C", "D", "M1", "M2")
_FAMILIES = frozenset({"connection", "cut", "status", "redirect", "no-content", "html", "shape", "length", "chunks",
                       "status line", "bad json", "packing", "1xx", "silence"})  # fmt: skip
_TOO_LONG = ("flood", "for-ever", "bomb-many", "gzip-bomb", "held", "refused")


def gusts() -> list[Fault]:
    """Faults that pass: no lies in the server's own words, nothing that looks right, nothing without an end."""
    return [
        fault
        for fault in FAULTS.values()
        if fault.family in _FAMILIES and not (fault.own or fault.patient or fault.blind)
        and not any(part in fault.name for part in _TOO_LONG)
        and len(fault.plays) == 1 and fault.at >= {"promise", "result"}
    ]  # fmt: skip


class Weather:
    """Gives one request in so many a fault, until it is calm."""

    def __init__(self, share: float, seed: int) -> None:
        self._share = share
        self._chance = random.Random(seed)
        self._faults = gusts()
        self._lock = threading.Lock()
        self.calm = False
        self.requests = 0
        self.played: collections.Counter[str] = collections.Counter()

    def __call__(self, request: Request) -> Play | None:
        with self._lock:
            self.requests += 1
            if self.calm or self._chance.random() >= self._share:
                return None
            fault = self._chance.choice(self._faults)
            self.played[fault.family] += 1
        return fault.plays[0]


class ServerProcess:
    """The embedded server in a process of its own, that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._folder = folder
        self.kills = 0
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tinkex.local", "--port", str(self.port), "--directory", str(self._folder)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/healthz", timeout=1):
                    return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("the server does not start")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self.kills += 1
        self._start()

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Soak:
    """One run; ``errors`` counts what the loads were told, ``untyped`` what they should never be."""

    def __init__(self, url: str, over: threading.Event) -> None:
        self.url = url
        self.over = over
        self.errors: collections.Counter[str] = collections.Counter()
        self.untyped: list[str] = []
        self.done: collections.Counter[str] = collections.Counter()

    def service(self) -> tinkex.ServiceClient:
        return tinkex.ServiceClient(config=config(self.url, "tml-soak", max_tries=5))

    def keep_on(self, name: str, load: Callable[[tinkex.ServiceClient], None]) -> None:
        """Run ``load`` again and again, each time with a client of its own, until the soak is over."""
        while not self.over.is_set():
            try:
                with self.service() as service:
                    load(service)
            except tinkex.TinkerError as error:
                self.errors[f"{name}: {type(error).__name__}"] += 1
                self.over.wait(0.1)
            except Exception as error:
                self.untyped.append(f"{name}: {error!r}"[:300])
                self.over.wait(0.5)

    def sample(self, service: tinkex.ServiceClient) -> None:
        sampler = service.create_sampling_client_async(None, BASE_MODEL).result(60)
        params = types.SamplingParams(max_tokens=4, seed=1, temperature=1.0)
        prompt = types.ModelInput.from_ints(list(b"once upon"))
        expected: object = None
        for _ in range(20):
            for future in [sampler.sample(prompt, 2, params) for _ in range(8)]:
                got = [one.tokens for one in future.result(60).sequences]
                expected = expected or got
                if got != expected:
                    self.untyped.append(f"sample: {got} instead of {expected}")
                self.done["samples"] += 1
            if self.over.wait(0.2):
                return

    def save_and_load(self, service: tinkex.ServiceClient) -> None:
        model = service.create_lora_training_client_async(BASE_MODEL, RANK, seed=SEED).result(60)
        for _ in range(5):
            model.forward_backward(data("A"), "cross_entropy")
            model.optim_step(adam()).result(60)
            path = model.save_state("side", overwrite=True).result(60).path
            model.load_state_with_optimizer(path).result(60)
            sampler = model.save_weights_and_get_sampling_client_async().result(60)
            sampler.compute_logprobs(types.ModelInput.from_ints(list(b"loaded"))).result(60)
            self.done["saves and loads"] += 1
            if self.over.wait(0.3):
                return

    def look(self, service: tinkex.ServiceClient) -> None:
        rest = service.create_rest_client()
        for _ in range(10):
            rest.list_training_runs(100).result(60)
            rest.list_user_checkpoints(100).result(60)
            service.get_server_capabilities()
            self.done["lists"] += 1
            if self.over.wait(0.5):
                return


def step(training: tinkex.TrainingClient, number: int) -> Sequence[Any]:
    batch = data(_BATCHES[number % len(_BATCHES)])
    return training.forward_backward(batch, "cross_entropy"), training.optim_step(adam(0.003))


def create(service: tinkex.ServiceClient) -> tinkex.TrainingClient:
    return service.create_lora_training_client(BASE_MODEL, RANK, seed=SEED)


def logprobs(training: tinkex.TrainingClient) -> object:
    """What the model makes of every batch: equal if and only if the weights are."""
    outputs = [training.forward(data(label), "cross_entropy").result(60) for label in (*_BATCHES, "probe")]
    return [list(one["logprobs"].data) for output in outputs for one in output.loss_fn_outputs]


def without_faults(steps: int) -> object:
    with LocalServer() as server:
        settings = config(server.base_url, "tml-soak", read_timeout=60.0, poll_timeout=60.0)
        with tinkex.ServiceClient(config=settings) as service:
            training = create(service)
            for number in range(steps):
                for future in step(training, number):
                    future.result(60)
            return logprobs(training)


def soak(minutes: float, share: float, seed: int, kill_every: float) -> tuple[bool, str]:
    """Whether all went right, and a summary."""
    over = threading.Event()
    end = time.monotonic() + minutes * 60
    with tempfile.TemporaryDirectory(prefix="tinkex-soak-") as folder:
        server = ServerProcess(Path(folder))
        proxy = FaultProxy("127.0.0.1", server.port)
        weather = Weather(share, seed)
        proxy.between = weather
        run = Soak(proxy.url, over)

        def kill() -> None:
            while not over.wait(kill_every):
                server.kill()

        loads = {"sample": run.sample, "save": run.save_and_load, "look": run.look}
        threads = [
            threading.Thread(target=run.keep_on, args=(name, load), name=f"soak-{name}", daemon=True)
            for name, load in loads.items()
        ]
        threads.append(threading.Thread(target=kill, name="soak-kill", daemon=True))
        for thread in threads:
            thread.start()
        try:
            steps, restarts, found = _train(run, weather, threads, end)
        finally:
            over.set()
            for thread in threads:
                thread.join(60)
            proxy.__exit__()
            server.stop()
    equal = found == without_faults(steps)
    lines = [
        f"{minutes:g} minutes, {steps} training steps, {restarts} resumptions, {server.kills} kills of the server, "
        f"{weather.requests} requests, {sum(weather.played.values())} of them with a fault.",
        f"Beside it {', '.join(f'{count} {name}' for name, count in sorted(run.done.items()))}.",
        f"The model is {'bit for bit' if equal else '**not**'} that of a run without faults; "
        f"{len(run.untyped)} untyped errors or wrong values.",
        *(f"- {text}" for text in run.untyped[:10]),
    ]
    told = ", ".join(f"{name} {count}" for name, count in run.errors.most_common(12))
    print(f"faults: {dict(weather.played)}\nerrors told: {told}", file=sys.stderr)
    return equal and not run.untyped, "\n".join(lines)


def _train(
    run: Soak, weather: Weather, others: list[threading.Thread], end: float
) -> tuple[int, int, object]:
    """Train until ``end``, then once more in calm: the number of steps, of resumptions, and the logprobs."""
    options: dict[str, Any] = {
        "save_every": SAVE_EVERY,
        "in_flight": 2,
        "max_restarts": 1000,
        "first_wait": 0.2,
    }
    steps = 0
    trainer = recovery.Run(create, connect=run.service, **options)
    _until_done(run, trainer.__enter__)
    while time.monotonic() < end:
        steps += SLICE
        _until_done(run, partial(trainer.train, steps, step))
        print(f"{steps} steps, {trainer.restarts} resumptions, {max(0.0, end - time.monotonic()):.0f} s to go",
              file=sys.stderr, flush=True)  # fmt: skip
    run.over.set()
    for thread in others:
        thread.join(60)
    weather.calm = True
    found: list[object] = []

    def read() -> None:
        trainer.train(steps, step)
        found.append(logprobs(trainer.training))

    _until_done(run, read)
    trainer.__exit__(None, None, None)
    return steps, trainer.restarts, found[-1]


def _until_done(run: Soak, work: Callable[[], object]) -> None:
    """Do ``work`` until it is done: an error that a run lets pass is told to its user, who calls again."""
    for _ in range(1000):
        try:
            work()
            return
        except tinkex.TinkerError as error:
            run.errors[f"train: {type(error).__name__}"] += 1
        except Exception as error:
            run.untyped.append(f"train: {error!r}"[:300])
        time.sleep(0.2)
    raise RuntimeError("the training does not go on")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description="Run a long mixed load.")
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument(
        "--share", type=float, default=SHARE, help="of the requests that meet a fault (default: %(default)s)"
    )
    parser.add_argument("--kill-every", type=float, default=KILL_EVERY, metavar="SECONDS")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--write", type=Path, metavar="PAGE", help="put the summary into this page, between its markers"
    )
    options = parser.parse_args(arguments)
    fine, summary = soak(options.minutes, options.share, options.seed, options.kill_every)
    print(summary)
    if options.write is not None:
        write_figures(options.write, summary, "soak")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
