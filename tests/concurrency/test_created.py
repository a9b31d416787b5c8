"""Clients created on an event loop: returned at once, made meanwhile, and used as soon as they are ready."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import copy
import gc
import logging
import os
import pickle
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from clients import DATUM, PARAMS, PROMPT, TOKENS, wait_until

import tinkex
from tinkex import SamplingClient, ServiceClient, TrainingClient
from tinkex.testing import Hang, Reply, Request, TinkerServer

LATENCY = 0.4

pytestmark = pytest.mark.usefixtures("nothing_left")


def on_a_loop(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 60))


async def arrived(server: TinkerServer, path: str, count: int = 1) -> None:
    """Wait for requests without stopping the loop."""
    await asyncio.get_running_loop().run_in_executor(None, server.requests.wait_for, path, count)


def test_four_creations_run_side_by_side_while_the_loop_goes_on(
    server: TinkerServer, service: ServiceClient, saved: str
) -> None:
    together = threading.Barrier(4)

    def answer(request: Request) -> None:
        if request.path.endswith(("/create_model", "/load_weights", "/create_sampling_session")):
            together.wait(60)  # nobody goes on before all four have come
        time.sleep(LATENCY)

    server.on("*", answer)
    ticks: list[float] = []

    async def tick() -> None:
        while True:
            await asyncio.sleep(0.001)
            ticks.append(time.monotonic())

    async def work() -> None:
        ticking = asyncio.create_task(tick())
        began = time.monotonic()
        clients = [
            service.create_lora_training_client("tinkex/byte-lm"),
            service.create_training_client_from_state(saved),
            service.create_sampling_client(base_model="tinkex/byte-lm"),
            service.create_sampling_client(saved),
        ]
        assert not ticks  # they were returned at once, without a turn of the loop
        assert not any(client.done() for client in clients)
        kinds = [TrainingClient, TrainingClient, SamplingClient, SamplingClient]
        assert all(isinstance(client, kind) for client, kind in zip(clients, kinds))
        made = await asyncio.gather(*clients)
        assert time.monotonic() - began >= LATENCY
        assert [type(client) for client in made] == kinds
        assert len(service.clients()) == 4
        assert set(service.clients()) == set(made)
        server.on("*", None)
        ticking.cancel()

    on_a_loop(work)
    assert len(ticks) > 20


def test_a_made_client_and_the_one_that_was_being_made_are_one(service: ServiceClient) -> None:
    async def work() -> None:
        training = service.create_lora_training_client("tinkex/byte-lm")
        made = await training
        assert made is await training
        assert made is training.result()
        assert made is await training.result_async(60)
        assert made is training.future().result(60)
        assert made is await asyncio.create_task(training.coroutine())
        assert training.done()
        assert training.model_id == made.model_id
        assert repr(training) == repr(made)
        assert service.clients() == [made]

    on_a_loop(work)


def test_the_first_use_waits(server: TinkerServer, service: ServiceClient) -> None:
    hang = Hang()
    server.on("/create_model", hang)

    async def work() -> None:
        training = service.create_lora_training_client("tinkex/byte-lm")

        def release() -> None:
            server.requests.wait_for("/create_model")
            hang.release()

        releasing = threading.Thread(target=release)
        releasing.start()
        await training.forward_backward([DATUM], "cross_entropy")
        releasing.join()
        with pytest.raises(AttributeError, match="'TrainingClient' object has no attribute 'nonesuch'"):
            getattr(training, "none" + "such")

    on_a_loop(work)


def test_the_first_use_of_an_async_method_does_not_stop_the_loop(
    server: TinkerServer, service: ServiceClient, saved: str
) -> None:
    hang, other_hang = Hang(), Hang()
    server.on("/create_model", hang)
    server.on("/create_sampling_session", other_hang)

    async def work() -> None:
        training = service.create_lora_training_client("tinkex/byte-lm")
        sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(training.forward_backward_async([DATUM], "cross_entropy")),
            asyncio.create_task(training.get_info_async()),
            asyncio.create_task(training.save_weights_and_get_sampling_client_async()),
            asyncio.create_task(training.create_sampling_client_async(saved)),
            asyncio.create_task(training.save_weights_and_get_sampling_client().coroutine()),
            asyncio.create_task(sampler.sample_async(PROMPT, 1, PARAMS)),
            asyncio.create_task(sampler.get_base_model_async()),
        ]
        await arrived(server, "/create_model")
        await arrived(server, "/create_sampling_session")
        assert not any(task.done() for task in tasks)
        impatient = asyncio.create_task(sampler.sample_async(PROMPT, 1, PARAMS))
        await asyncio.sleep(0)
        impatient.cancel()  # which harms nobody else
        await asyncio.wait([impatient])
        hang.release()
        other_hang.release()
        await asyncio.gather(*tasks)

    on_a_loop(work)


@pytest.mark.parametrize(
    "use",
    [
        lambda client: client.result(60),
        lambda client: client.forward([DATUM], "cross_entropy"),
        lambda client: client.model_id,
        lambda client: client.future().result(60),
        lambda client: asyncio.run(client.result_async(60)),
        lambda client: asyncio.run(client.forward_async([DATUM], "cross_entropy")),
        lambda client: asyncio.run(client.coroutine()),
        lambda client: client.save_weights_and_get_sampling_client(),
        lambda client: client.save_weights_and_get_sampling_client_async().result(60),
    ],
)
def test_whoever_looks_at_a_failure_gets_it(
    server: TinkerServer,
    service: ServiceClient,
    caplog: pytest.LogCaptureFixture,
    use: Callable[[Any], object],
) -> None:
    server.on("/create_model", Reply(404, {"detail": "no such model"}))
    failed: list[TrainingClient] = []

    async def work() -> None:
        failed.append(service.create_lora_training_client("nonesuch"))
        with pytest.raises(tinkex.NotFoundError):
            await failed[0]

    on_a_loop(work)
    for _ in range(2):
        with pytest.raises(tinkex.NotFoundError, match="no such model"):
            use(failed[0])
    assert "could not be made" in repr(failed[0])
    failed.clear()
    gc.collect()
    assert service.clients() == []
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("dropped_first", [True, False])
def test_a_failure_nobody_looks_at_is_logged_once(
    server: TinkerServer, service: ServiceClient, caplog: pytest.LogCaptureFixture, dropped_first: bool
) -> None:
    hang = Hang(Reply(404, {"detail": "no such model"}))
    server.on("/create_model", hang)

    async def work() -> None:
        training = service.create_lora_training_client("nonesuch")
        await arrived(server, "/create_model")
        if not dropped_first:
            hang.release()
            while not training.done():
                await asyncio.sleep(0.005)
        del training

    on_a_loop(work)
    gc.collect()
    hang.release()
    wait_until(lambda: "no such model" in caplog.text)
    gc.collect()
    assert caplog.text.count("nobody has used it") == 1


def test_to_look_at_a_client_being_made_does_not_wait(server: TinkerServer, service: ServiceClient) -> None:
    hang = Hang()
    server.on("/create_sampling_session", hang)

    async def work() -> None:
        sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
        assert repr(sampler) == "<SamplingClient, being made>"
        assert not hasattr(sampler, "_repr_html_")
        assert not hasattr(sampler, "__deepcopy__")
        assert service.clients() == []
        with pytest.raises(concurrent.futures.TimeoutError, match=r"not there within 0\.01 s"):
            sampler.result(0.01)
        hang.release()
        await sampler

    on_a_loop(work)


def test_a_client_being_made_can_be_pickled_and_copied(
    service: ServiceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINKER_API_KEY", "tml-test")

    async def work() -> None:
        sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
        shallow = copy.copy(service.create_lora_training_client("tinkex/byte-lm"))
        assert shallow.model_id
        again = await asyncio.to_thread(pickle.loads, pickle.dumps(sampler))
        assert again.sampling_session_id == sampler.sampling_session_id
        again._session.transport.close()

    on_a_loop(work)


@pytest.mark.parametrize("kind", ["training", "sampling", "inflight"])
def test_closing_gives_the_creation_up(server: TinkerServer, service: ServiceClient, kind: str) -> None:
    made = service.create_lora_training_client("tinkex/byte-lm")
    hang = Hang()
    path = {"training": "/create_model", "sampling": "/create_sampling_session"}.get(
        kind, "/save_weights_for_sampler"
    )
    server.on(path, hang)
    before = len(server.requests.to(path))

    async def work() -> None:
        client: TrainingClient | SamplingClient
        if kind == "training":
            client = service.create_lora_training_client("tinkex/byte-lm")
        elif kind == "sampling":
            client = service.create_sampling_client(base_model="tinkex/byte-lm")
        else:
            client = made.save_weights_and_get_sampling_client()
        await arrived(server, path, before + 1)
        client.close()
        client.close()
        with pytest.raises(tinkex.ClientClosedError, match="closed while it was being made"):
            await client
        with pytest.raises(tinkex.ClientClosedError, match="closed while it was being made"):
            client.get_tokenizer()
        hang.release()

    on_a_loop(work)
    wait_until(lambda: service.clients() == [made])
    assert made.optim_step().result(60)


def test_closing_the_service_ends_clients_being_made(server: TinkerServer, service: ServiceClient) -> None:
    server.on("/create_model", Hang())

    async def work() -> None:
        training = service.create_lora_training_client("tinkex/byte-lm")
        await arrived(server, "/create_model")
        await asyncio.get_running_loop().run_in_executor(None, service.close)
        with pytest.raises(tinkex.ClientClosedError):
            await training

    on_a_loop(work)


def test_a_client_made_long_ago_is_closed(service: ServiceClient) -> None:
    async def work() -> None:
        sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
        made = await sampler
        sampler.close()
        with pytest.raises(tinkex.ClientClosedError):
            await made.sample(PROMPT, 1, PARAMS)

    on_a_loop(work)


def test_cancelling_the_task_that_awaits_a_client_gives_it_up(
    server: TinkerServer, service: ServiceClient
) -> None:
    hang = Hang()
    server.on("/create_sampling_session", hang)

    async def work() -> None:
        sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(sampler, 0.01)
        assert sampler.done()
        assert repr(sampler) == "<SamplingClient, given up>"
        hang.release()

    on_a_loop(work)


def test_threads_without_a_loop_block_as_ever(service: ServiceClient) -> None:
    async def work() -> None:
        def create() -> SamplingClient:
            sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
            assert sampler._creation is None
            return sampler

        sampler = await asyncio.get_running_loop().run_in_executor(None, create)
        await sampler.sample_async(PROMPT, 1, PARAMS)

    on_a_loop(work)


def test_many_threads_may_wait_for_one_client(server: TinkerServer, service: ServiceClient) -> None:
    hang = Hang()
    server.on("/create_sampling_session", hang)

    async def work() -> None:
        sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
        loop = asyncio.get_running_loop()
        threads = concurrent.futures.ThreadPoolExecutor(8)
        using = [
            loop.run_in_executor(threads, lambda: sampler.sample(PROMPT, 1, PARAMS).result(60))
            for _ in range(8)
        ]
        await arrived(server, "/create_sampling_session")
        hang.release()
        for response in await asyncio.gather(*using):
            assert response.sequences[0].tokens == TOKENS
        threads.shutdown()

    on_a_loop(work)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_does_not_wait_for_a_client_of_its_parent(
    server: TinkerServer, service: ServiceClient
) -> None:
    hang = Hang()
    server.on("/create_sampling_session", hang)

    async def work() -> None:
        sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
        await arrived(server, "/create_sampling_session")
        child = os.fork()
        if child == 0:
            code = 1
            with contextlib.suppress(BaseException):
                try:
                    sampler.result(60)
                except RuntimeError as error:
                    code = 0 if "forked" in str(error) else 2
            os._exit(code)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        hang.release()
        await sampler

    on_a_loop(work)


def test_a_client_that_is_made_costs_nothing_to_free(service: ServiceClient) -> None:
    """A client that was being made, and is not used any more, is forgotten without the garbage collector."""

    async def work() -> None:
        sampler = service.create_sampling_client(base_model="tinkex/byte-lm")
        await sampler.sample_async(PROMPT, 1, PARAMS)
        assert len(service.clients()) == 1
        del sampler
        await asyncio.to_thread(wait_until, lambda: not service.clients())  # until the threads let go of it

    gc.collect()
    gc.disable()
    try:
        on_a_loop(work)
    finally:
        gc.enable()
