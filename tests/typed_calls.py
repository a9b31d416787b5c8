"""Calls that mypy and pyright must accept, and calls that they must refuse. Nothing here is run.

A call that must be refused has a ``type: ignore`` comment: both checkers fail where such a comment is not needed.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import tinkex
from tinkex import APIFuture, RestClient, SamplingClient, ServiceClient, TrainingClient, types

if TYPE_CHECKING:
    from typing_extensions import assert_type


def blocking_methods_give_the_client(service: ServiceClient, training: TrainingClient) -> None:
    assert_type(service.create_lora_training_client("base", rank=8), TrainingClient)
    assert_type(service.create_training_client_from_state("path", base_model="base"), TrainingClient)
    assert_type(service.create_training_client_from_state_with_optimizer("path"), TrainingClient)
    assert_type(service.create_sampling_client(base_model="base"), SamplingClient)
    assert_type(service.create_rest_client(), RestClient)
    assert_type(training.create_sampling_client("path"), SamplingClient)
    assert_type(training.save_weights_and_get_sampling_client(kind="inflight"), SamplingClient)

    service.create_lora_training_client()  # type: ignore[call-arg]
    service.create_lora_training_client("base", rnak=8)  # type: ignore[call-arg]
    service.create_lora_training_client("base", rank="8")  # type: ignore[arg-type]
    service.create_training_client_from_state("path", model="base")  # type: ignore[call-arg]
    service.create_sampling_client("path", "base", None, False, 1)  # type: ignore[call-arg]
    training.save_weights_and_get_sampling_client(kind="other")  # type: ignore[arg-type]


def their_twins_give_a_future(service: ServiceClient, training: TrainingClient) -> None:
    assert_type(service.create_lora_training_client_async("base", rank=8), APIFuture[TrainingClient])
    assert_type(service.create_training_client_from_state_async("path"), APIFuture[TrainingClient])
    assert_type(service.create_sampling_client_async("path"), APIFuture[SamplingClient])
    assert_type(service.create_rest_client_async(), APIFuture[RestClient])
    assert_type(training.save_weights_and_get_sampling_client_async(), APIFuture[SamplingClient])

    service.create_lora_training_client_async("base", rnak=8)  # type: ignore[call-arg]
    service.create_sampling_client_async(base_model=8)  # type: ignore[arg-type]
    training.save_weights_and_get_sampling_client_async(sort="inflight")  # type: ignore[call-arg]


async def coroutines_of_training_give_a_future(training: TrainingClient, data: list[types.Datum]) -> None:
    assert_type(await training.forward_async(data, "ppo"), APIFuture[types.ForwardBackwardOutput])
    assert_type(
        await training.forward_backward_async(data, loss_fn="ppo"), APIFuture[types.ForwardBackwardOutput]
    )
    assert_type(await training.optim_step_async(types.AdamParams()), APIFuture[types.OptimStepResponse])
    assert_type(await training.save_state_async("name", overwrite=True), APIFuture[types.SaveWeightsResponse])
    assert_type(await training.create_sampling_client_async("path"), SamplingClient)

    await training.forward_backward_async(data, loss="ppo")  # type: ignore[call-arg]
    await training.optim_step_async(0.1)  # type: ignore[arg-type]
    await training.save_state_async()  # type: ignore[call-arg]


async def coroutines_of_others_give_the_result(
    sampler: SamplingClient, rest: RestClient, prompt: types.ModelInput, params: types.SamplingParams
) -> None:
    assert_type(await sampler.sample_async(prompt, 1, sampling_params=params), types.SampleResponse)
    assert_type(await sampler.compute_logprobs_async(prompt), list[float | None])
    assert_type(await rest.list_checkpoints_async("run"), types.CheckpointsListResponse)
    assert_type(await rest.download_checkpoint_async("path", "folder", overwrite=True), Path)
    assert_type(await rest.get_audit_log_async("all"), types.AuditLogResponse)

    await sampler.sample_async(prompt, 1, params, topk_logprobs=1)  # type: ignore[call-arg]
    await rest.list_checkpoints_async(run="run")  # type: ignore[call-arg]
    await rest.download_checkpoint_async("path", "folder", None, True)  # type: ignore[call-arg]


def a_bound_method_is_a_function_of_its_arguments(service: ServiceClient) -> None:
    create: Callable[[str, int], TrainingClient] = service.create_lora_training_client
    wrong: Callable[[int], TrainingClient] = service.create_lora_training_client  # type: ignore[assignment]
    print(create, wrong)


def a_misspelt_name_is_refused() -> None:
    print(tinkex.SerivceClient)  # type: ignore[attr-defined]
    print(types.Datm)  # type: ignore[attr-defined]
