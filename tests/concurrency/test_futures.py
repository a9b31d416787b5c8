"""Futures: awaited, cancelled, and clients that are their own."""

from __future__ import annotations

import asyncio
from concurrent.futures import as_completed, wait

from clients import DATUM, PARAMS, PROMPT
from servers import Hang, ScriptedServer

import tinkex
from tinkex import ServiceClient, types


def test_a_created_client_is_its_own_future(service: ServiceClient) -> None:
    training = service.create_lora_training_client("base")
    assert training.result() is training


def test_futures_can_be_awaited(training: tinkex.TrainingClient) -> None:
    async def work() -> types.OptimStepResponse:
        await training.forward_backward([DATUM], "cross_entropy")
        future = await training.optim_step_async()
        return await future.result_async(60)

    assert asyncio.run(work()) == types.OptimStepResponse()


def test_a_created_client_is_its_own_finished_future(training: tinkex.TrainingClient) -> None:
    async def work() -> tinkex.TrainingClient:
        return await training

    assert training.result() is training
    assert training.done()
    assert asyncio.run(work()) is training


def test_a_cancelled_future_is_done_for_those_who_wait(
    server: ScriptedServer, sampler: tinkex.SamplingClient
) -> None:
    server.on("/retrieve_future", Hang())
    future = sampler.sample(PROMPT, 1, PARAMS)
    server.requests.wait_for("/retrieve_future")
    assert future.cancel()
    assert future.cancel()  # and again, to no harm
    assert wait([future], 60).done == {future}
    assert list(as_completed([future], 60)) == [future]
