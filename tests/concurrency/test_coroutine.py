"""Futures as coroutines: run by tasks, awaited more than once, cancelled with their task, and waited for in threads."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from clients import PARAMS, PROMPT

import tinkex
from tinkex import APIFuture, SamplingClient, ServiceClient, TrainingClient
from tinkex.testing import Hang, TinkerServer
from tinkex.types import GetServerCapabilitiesResponse

pytestmark = pytest.mark.usefixtures("nothing_left", "no_warnings")

Start = Callable[[ServiceClient, TrainingClient], APIFuture[Any]]

STARTS: list[tuple[Start, type]] = [
    (lambda service, _: service.create_lora_training_client_async("tinkex/byte-lm"), TrainingClient),
    (lambda service, _: service.create_sampling_client_async(base_model="tinkex/byte-lm"), SamplingClient),
    (lambda service, _: service.create_rest_client_async(), tinkex.RestClient),
    (lambda service, _: service.get_server_capabilities_async(), GetServerCapabilitiesResponse),
    (lambda _, training: training.save_weights_and_get_sampling_client_async(), SamplingClient),
]


@pytest.fixture
def no_warnings() -> Iterator[None]:
    """Nothing says that a coroutine was never awaited, nor that an error was never retrieved."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert not [str(one.message) for one in caught]


@pytest.mark.parametrize(("start", "kind"), STARTS)
def test_whatever_takes_a_coroutine_takes_the_future(
    service: ServiceClient, training: TrainingClient, start: Start, kind: type
) -> None:
    async def work() -> list[object]:
        results: list[object] = []
        assert asyncio.iscoroutine(start(service, training))
        results.append(await start(service, training))
        results.append(await asyncio.create_task(start(service, training)))
        results.extend(await asyncio.gather(start(service, training), start(service, training)))
        results.append(await asyncio.wait_for(start(service, training), 60))
        results.append(await asyncio.shield(start(service, training)))
        results.append(await start(service, training).coroutine())
        done, _ = await asyncio.wait([asyncio.ensure_future(start(service, training))])
        results.extend(task.result() for task in done)
        for soon in asyncio.as_completed([start(service, training)]):
            results.append(await soon)
        if sys.version_info >= (3, 11):
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(start(service, training), name="a task") for _ in range(2)]
            results.extend(task.result() for task in tasks)
        return results

    results = [*asyncio.run(work()), asyncio.run(start(service, training))]
    assert [type(result) for result in results] == [kind] * len(results)
    assert isinstance(start(service, training).result(60), kind)
    future = start(service, training)
    assert concurrent.futures.wait([future.future()], 60).done == {future}


def test_a_future_can_be_run_by_several_tasks_and_awaited_again(service: ServiceClient) -> None:
    async def work() -> None:
        future = service.create_sampling_client_async(base_model="tinkex/byte-lm")
        tasks = [asyncio.create_task(future) for _ in range(3)]
        made = await asyncio.gather(future, *tasks, future.coroutine())
        assert set(made) == {await future}
        assert future.result() is await asyncio.create_task(future)

    asyncio.run(work(), debug=True)


def test_the_tasks_of_several_loops_can_run_one_future(server: TinkerServer, service: ServiceClient) -> None:
    hang = Hang()
    server.on("/create_sampling_session", hang)
    future = service.create_sampling_client_async(base_model="tinkex/byte-lm")
    begun = threading.Barrier(3)

    async def run() -> SamplingClient:
        task = asyncio.create_task(future)
        await asyncio.sleep(0)
        await asyncio.to_thread(begun.wait, 60)
        return await task

    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        running = [threads.submit(asyncio.run, run()) for _ in range(2)]
        begun.wait(60)
        hang.release()
        assert {one.result(60) for one in running} == {future.result(60)}


@pytest.mark.parametrize("begun", [True, False])
def test_cancelling_the_task_cancels_the_future(
    server: TinkerServer, service: ServiceClient, begun: bool
) -> None:
    hang = Hang()
    server.on("/create_sampling_session", hang)
    future = service.create_sampling_client_async(base_model="tinkex/byte-lm")

    async def work() -> None:
        task = asyncio.create_task(future)
        if begun:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())
    assert future.cancelled()
    hang.release()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result(60)


def test_a_shield_keeps_the_future(server: TinkerServer, service: ServiceClient) -> None:
    hang = Hang()
    server.on("/create_sampling_session", hang)
    future = service.create_sampling_client_async(base_model="tinkex/byte-lm")

    async def work() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(future), 0.01)
        hang.release()
        assert await future

    asyncio.run(work())


def test_errors_reach_the_task(server: TinkerServer, service: ServiceClient) -> None:
    server.on("/create_sampling_session", 404)

    async def work() -> None:
        with pytest.raises(tinkex.NotFoundError):
            await asyncio.create_task(service.create_sampling_client_async(base_model="tinkex/byte-lm"))

    asyncio.run(work())
    with pytest.raises(tinkex.NotFoundError):
        asyncio.run(service.create_sampling_client_async(base_model="tinkex/byte-lm"))


def test_a_future_nobody_runs_is_no_coroutine_that_was_never_awaited(sampler: SamplingClient) -> None:
    future = sampler.sample(PROMPT, 1, PARAMS)
    future.close()  # as asyncio closes a coroutine that it cannot run
    assert future.result(60).sequences
    service_future = sampler.sample(PROMPT, 1, PARAMS)
    concurrent.futures.wait([service_future], 60)
    del future, service_future
    gc.collect()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_eager_tasks_run_the_future(service: ServiceClient) -> None:
    async def work() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        assert await asyncio.create_task(service.create_sampling_client_async(base_model="tinkex/byte-lm"))

    asyncio.run(work())
