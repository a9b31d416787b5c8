"""Futures: awaited, cancelled, and clients that are their own."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from concurrent.futures import as_completed, wait

import pytest
from clients import DATUM, NOT_YET, PARAMS, PROMPT

import tinkex
from tinkex import ServiceClient, types
from tinkex.concurrency.futures import APIFuture
from tinkex.testing import Hang, TinkerServer


def test_a_created_client_is_its_own_future(service: ServiceClient) -> None:
    training = service.create_lora_training_client("tinkex/byte-lm")
    assert training.result() is training


def test_futures_can_be_awaited(training: tinkex.TrainingClient) -> None:
    async def work() -> types.OptimStepResponse:
        await training.forward_backward([DATUM], "cross_entropy")
        future = await training.optim_step_async()
        return await future.result_async(60)

    assert isinstance(asyncio.run(work()), types.OptimStepResponse)


def test_a_created_client_is_its_own_finished_future(training: tinkex.TrainingClient) -> None:
    async def work() -> tinkex.TrainingClient:
        return await training

    assert training.result() is training
    assert training.done()
    assert asyncio.run(work()) is training


def test_a_cancelled_future_is_done_for_those_who_wait(
    server: TinkerServer, sampler: tinkex.SamplingClient
) -> None:
    server.on("/retrieve_future", Hang())
    future = sampler.sample(PROMPT, 1, PARAMS)
    server.requests.wait_for("/retrieve_future")
    assert future.cancel()
    assert future.cancel()  # and again, to no harm
    assert wait([future], 60).done == {future}
    assert list(as_completed([future], 60)) == [future]


def test_awaiting_a_result_for_too_long_says_what_was_awaited_and_cancels_it(
    server: TinkerServer, sampler: tinkex.SamplingClient
) -> None:
    server.on("/retrieve_future", NOT_YET)
    future = sampler.sample(PROMPT, 1, PARAMS)
    with pytest.raises(asyncio.TimeoutError, match=r"sample of sampler .* was not there within 0\.1 s"):
        asyncio.run(future.result_async(0.1))
    assert future.cancelled()


def test_a_failed_future_is_freed_without_the_garbage_collector() -> None:
    """An error that is raised must not refer to the future that keeps it."""
    gc.disable()
    try:
        future: APIFuture[int] = APIFuture()
        future.set_exception(ValueError("no"))
        alive = weakref.ref(future)
        with contextlib.suppress(ValueError):
            future.result()
        del future
        assert alive() is None
    finally:
        gc.enable()
