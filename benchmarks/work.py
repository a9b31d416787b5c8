"""The work that is measured. It is written once, and run by the interpreter of either SDK.

Usage::

    python -I work.py tinkex|tinker WORK BASE_URL

It prints the measures of the work as one JSON object. CPU time is the user and system time of all threads of the
process; peak memory is that of the whole process, including the interpreter. The module imports as little as
possible at its top, since ``import`` is one of the measures.
"""

from __future__ import annotations

import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # without importing typing, which is part of what an SDK's import costs
    from collections.abc import Callable
    from typing import Any

BASE_MODEL = "Qwen/Qwen3-8B"
PROMPT_TOKENS = 256
SAMPLED_TOKENS = 256
DATUMS, DATUM_TOKENS = 64, 2048
SESSIONS = 200
HEARTBEAT_SECONDS = 2.0


def peak_memory() -> int:
    """Return the peak memory of this process in bytes.

    The value comes from the kernel if possible, because that of ``getrusage`` includes the size of the parent
    process at the moment of the fork.
    """
    try:
        with open("/proc/self/status") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except FileNotFoundError:
        pass
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def load(sdk: str) -> Any:
    """Import the SDK and the names that a script starts with, in case their import is deferred."""
    module = __import__(sdk)
    __import__(f"{sdk}.types")
    module.ServiceClient, module.SamplingClient, module.TrainingClient  # noqa: B018
    return module


def cpu_of_each(operation: Callable[[], object], count: int, warm_up: int) -> float:
    for _ in range(warm_up):
        operation()
    before = time.process_time()
    for _ in range(count):
        operation()
    return (time.process_time() - before) / count


# ---- one function for each work ----


def importing(sdk: str, base_url: str) -> dict[str, float]:
    started = time.perf_counter()
    load(sdk)
    elapsed = time.perf_counter() - started
    return {"import_time": elapsed, "import_memory": peak_memory()}


def sampler_of(module: Any, base_url: str, **options: Any) -> tuple[Any, Any]:
    service = module.ServiceClient(base_url=base_url, **options)
    client = service.create_sampling_client(base_model=BASE_MODEL)
    return service, getattr(client, "result", lambda: client)()


def prompt_of(module: Any) -> Any:
    return module.types.ModelInput.from_ints([token * 37 % 150_000 for token in range(PROMPT_TOKENS)])


def check(result: Any) -> None:
    """Read what a user would read: the tokens and their logprobs, as lists."""
    sequence = result.sequences[0]
    assert len(sequence.tokens) == len(sequence.logprobs) == SAMPLED_TOKENS


def sample(sdk: str, base_url: str) -> dict[str, float]:
    module = load(sdk)
    _service, sampler = sampler_of(module, base_url)
    params = module.types.SamplingParams(max_tokens=SAMPLED_TOKENS)

    def one() -> None:
        check(sampler.sample(prompt_of(module), 1, params).result())

    return {"sample_cpu": cpu_of_each(one, count=300, warm_up=30)}


def thousand(sdk: str, base_url: str) -> dict[str, float]:
    module = load(sdk)
    _service, sampler = sampler_of(module, base_url)
    params = module.types.SamplingParams(max_tokens=SAMPLED_TOKENS)
    cpu, started = time.process_time(), time.perf_counter()
    futures = [sampler.sample(prompt_of(module), 1, params) for _ in range(1000)]
    for future in futures:
        check(future.result())
    return {
        "thousand_wall": time.perf_counter() - started,
        "thousand_cpu": (time.process_time() - cpu) / 1000,
        "thousand_memory": peak_memory(),
    }


def trainer_of(module: Any, base_url: str) -> tuple[Any, Any]:
    service = module.ServiceClient(base_url=base_url)
    client = service.create_lora_training_client(BASE_MODEL, rank=32)
    return service, getattr(client, "result", lambda: client)()


def training(sdk: str, base_url: str) -> dict[str, float]:
    module = load(sdk)
    types = module.types
    _service, trainer = trainer_of(module, base_url)
    tokens = [token * 37 % 150_000 for token in range(DATUM_TOKENS + 1)]
    weights = [0.0] * (DATUM_TOKENS // 2) + [1.0] * (DATUM_TOKENS // 2)

    def step() -> None:
        batch = [
            types.Datum(
                model_input=types.ModelInput.from_ints(tokens[:-1]),
                loss_fn_inputs={"target_tokens": tokens[1:], "weights": weights},
            )
            for _ in range(DATUMS)
        ]
        result = trainer.forward_backward(batch, "cross_entropy").result()
        assert len(result.loss_fn_outputs) == DATUMS
        assert result.metrics["loss:sum"] > 0

    return {"training_cpu": cpu_of_each(step, count=30, warm_up=5)}


def optim(sdk: str, base_url: str) -> dict[str, float]:
    module = load(sdk)
    _service, trainer = trainer_of(module, base_url)
    params = module.types.AdamParams(learning_rate=1e-4)

    def step() -> None:
        assert trainer.optim_step(params).result().metrics

    return {"optim_cpu": cpu_of_each(step, count=200, warm_up=20)}


def creating(sdk: str, base_url: str) -> dict[str, float]:
    module = load(sdk)
    kept: list[object] = []
    return {"create_cpu": cpu_of_each(lambda: kept.append(sampler_of(module, base_url)), count=30, warm_up=3)}


def heartbeat(sdk: str, base_url: str) -> dict[str, float]:
    """Measure heartbeats, as the server counts them, with both SDKs sending five times as many as by default."""
    import json
    import urllib.request

    module = load(sdk)
    options: dict[str, Any] = {}
    if sdk == "tinker":
        hurry_official_heartbeat()
    else:
        manager = sys.modules["tinkex.session_manager"].SessionManager
        options["session_manager"] = manager(heartbeat_interval=HEARTBEAT_SECONDS)

    def beats() -> int:
        with urllib.request.urlopen(f"{base_url}/stats") as answer:
            return int(json.load(answer)["requests"].get("session_heartbeat", 0))

    # With a sampling client, since the official service starts its session at first use.
    kept = [sampler_of(module, base_url, **options) for _ in range(SESSIONS)]
    time.sleep(1.5 * HEARTBEAT_SECONDS)  # every session has sent one, so its connection is open
    first, cpu = beats(), time.process_time()
    time.sleep(3 * HEARTBEAT_SECONDS)
    cpu, counted = time.process_time() - cpu, beats() - first
    expected = 3 * len(kept)
    assert 0.9 * expected <= counted <= 1.1 * expected, f"{counted} beats where {expected} were due"
    return {"heartbeat_cpu": cpu / counted}


def hurry_official_heartbeat() -> None:
    """Shorten the heartbeat period of the official SDK.

    The period is a constant inside a function, so the module that sleeps for it gets an ``asyncio`` whose
    ``sleep(10)`` is shorter. Nothing else changes.
    """
    import asyncio
    import types

    def sleep(delay: float, *rest: Any) -> Any:
        return asyncio.sleep(HEARTBEAT_SECONDS if delay == 10 else delay, *rest)

    hurried = types.ModuleType("asyncio")
    hurried.__dict__.update(vars(asyncio))
    hurried.sleep = sleep  # type: ignore[attr-defined]
    sys.modules["tinker.lib.internal_client_holder"].asyncio = hurried  # type: ignore[attr-defined]


WORKS: dict[str, Callable[[str, str], dict[str, float]]] = {
    "import": importing,
    "sample": sample,
    "thousand": thousand,
    "training": training,
    "optim": optim,
    "create": creating,
    "heartbeat": heartbeat,
}

if __name__ == "__main__":
    sdk, name, base_url = sys.argv[1:]
    measures = WORKS[name](sdk, base_url)
    import json
    import os

    sys.stdout.write(json.dumps(measures))
    sys.stdout.flush()
    os._exit(0)  # the end of the process is not part of any work
