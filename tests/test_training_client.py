"""``TrainingClient``: optimizers, saved weights, samplers of them, and unloading."""

from __future__ import annotations

import asyncio
import gc
import weakref
from concurrent.futures import Future, wait
from typing import Any

import pytest
from clients import config, seq_ids, wait_until, when

import tinkex
from tinkex import types
from tinkex.testing import Reply, Reset, TinkerServer


def test_weights_of_another_account_are_loaded_with_its_token(
    server: TinkerServer, training: tinkex.TrainingClient
) -> None:
    path = "tinker://run/weights/a"
    wait(
        [
            training.load_state(path, "theirs"),
            training.load_state_with_optimizer(path, weights_access_token="theirs"),
            asyncio.run(training.load_state_async(path, "theirs")),
            asyncio.run(training.load_state_with_optimizer_async(path, "theirs")),
            training.load_state(path),
        ],
        10,
    )
    bodies = [request.json() for request in server.requests.to("/load_weights")]
    assert [body["optimizer"] for body in bodies] == [False, True, False, True, False]
    assert [body.get("weights_access_token") for body in bodies] == ["theirs"] * 4 + [None]
    assert "weights_access_token" not in bodies[-1]


def test_other_optimizers_travel_under_their_own_name(
    server: TinkerServer, training: tinkex.TrainingClient
) -> None:
    server.on("/optim_step", {"request_id": "done"})  # the embedded server has only Adam
    server.on("/retrieve_future", {"metrics": None})
    training.optim_step(types.DimuonParams(learning_rate=0.5)).result(60)
    training.optim_step(adam_params=types.AdamParams(learning_rate=0.25)).result(60)
    dimuon, adam = (request.json() for request in server.requests.to("/optim_step"))
    assert dimuon["optimizer_params"] == {
        "type": "dimuon",
        "learning_rate": 0.5,
        "grad_clip_norm": 0.0,
        "beta1": 0.9,
    }
    assert adam["adam_params"]["learning_rate"] == 0.25
    assert "adam_params" not in dimuon


def test_a_sampler_of_the_present_weights_comes_after_the_steps_before_it(
    server: TinkerServer, training: tinkex.TrainingClient
) -> None:
    training.optim_step()
    sampler = training.save_weights_and_get_sampling_client()
    assert sampler.sample(types.ModelInput.from_ints([1]), 1, types.SamplingParams()).result(60)
    assert seq_ids(server, "/save_weights_for_sampler") == [2]
    assert sampler.get_base_model() == "tinkex/byte-lm"


def test_a_server_without_ephemeral_samplers_names_a_path(
    server: TinkerServer, training: tinkex.TrainingClient
) -> None:
    asked = when(lambda r: r.json()["request_id"] == "saved", {"path": "tinker://m/sampler_weights/1"})
    server.once("/save_weights_for_sampler", {"request_id": "saved"})
    server.on("/retrieve_future", asked)
    server.on("/create_sampling_session", {"sampling_session_id": "s"})
    training.save_weights_and_get_sampling_client()
    [opened] = server.requests.to("/create_sampling_session")
    assert opened.json()["model_path"] == "tinker://m/sampler_weights/1"


@pytest.mark.parametrize("ephemeral", [True, False])
def test_samplers_record_stability_info_where_that_is_asked_for(
    server: TinkerServer, training: tinkex.TrainingClient, ephemeral: bool
) -> None:
    path = training.save_weights_for_sampler("kept").result(60).path
    if not ephemeral:
        server.once("/save_weights_for_sampler", *[{"request_id": "saved"}] * 2)
        saved = {"path": path}
        server.on("/retrieve_future", when(lambda r: r.json()["request_id"] == "saved", saved))
    for sampler in (
        training.save_weights_and_get_sampling_client(record_stability_info=True),
        training.save_weights_and_get_sampling_client_async(None, None, True, "inflight").result(60),
        training.create_sampling_client(path, record_stability_info=True),
        asyncio.run(training.create_sampling_client_async(path, None, True)),
    ):
        sampler.sample(types.ModelInput.from_ints([1]), 1, types.SamplingParams()).result(60)
    assert [request.json().get("record_stability_info") for request in server.requests.to("/asample")] == [
        True
    ] * 4


def test_an_unloaded_model_takes_no_more_work(server: TinkerServer, training: tinkex.TrainingClient) -> None:
    training.optim_step()
    training.unload().result(60)
    assert [r.path.rpartition("/")[2] for r in server.requests if r.path.endswith(("step", "model"))] == [
        "create_model",
        "optim_step",
        "unload_model",
    ]
    with pytest.raises(tinkex.ClientClosedError, match="unloaded"):
        training.optim_step()


def test_a_forgotten_unload_is_asked_for_again(server: TinkerServer, training: tinkex.TrainingClient) -> None:
    server.once("/retrieve_future", 410)
    training.unload().result(60)
    assert len(server.requests.to("/unload_model")) == 2


def test_an_unload_that_failed_may_be_tried_again(
    server: TinkerServer, training: tinkex.TrainingClient
) -> None:
    server.once("/unload_model", *[503] * 4)
    with pytest.raises(tinkex.InternalServerError):
        training.unload().result(60)
    training.unload().result(60)


def test_an_unload_whose_answer_was_lost_has_worked(
    server: TinkerServer, training: tinkex.TrainingClient
) -> None:
    server.once("/unload_model", Reset(), Reply(404, {"detail": "no such model"}))
    assert training.unload().result(60).model_id == training.model_id
    with pytest.raises(tinkex.ClientClosedError, match="unloaded"):
        training.optim_step()


def test_an_unload_of_a_model_that_is_not_there_is_refused(
    server: TinkerServer, training: tinkex.TrainingClient
) -> None:
    server.once("/unload_model", Reply(404, {"detail": "no such model"}))
    with pytest.raises(tinkex.NotFoundError):
        training.unload().result(60)


def test_a_failed_future_keeps_no_client_alive(server: TinkerServer) -> None:
    with tinkex.ServiceClient(config=config(server, wire_format="json", outage_timeout=0.2)) as service:
        training = service.create_lora_training_client("tinkex/byte-lm")
        server.once("/optim_step", Reply(422, {"detail": "refused"}))
        server.once("/retrieve_future", {"error": "boom", "category": "server"})
        futures: list[Future[Any]] = [training.optim_step(), training.optim_step()]
        for future in futures:
            with pytest.raises(tinkex.TinkerError):
                future.result(60)
        gone = weakref.ref(training)
        gc.collect()
        gc.disable()  # so that only the counts of references end it
        try:
            del training, future
            wait_until(lambda: gone() is None)
        finally:
            gc.enable()
        assert all(future.done() for future in futures)


def test_the_sampler_of_earlier_releases(training: tinkex.TrainingClient) -> None:
    with pytest.warns(DeprecationWarning, match="save_weights_and_get_sampling_client_async"):
        future = training.save_weights_and_get_sampling_client_submit()
    assert isinstance(future.result(60), tinkex.SamplingClient)
