"""What ``inspect`` and the like show of the methods that exist as a pair: ``name`` and ``name_async``."""

from __future__ import annotations

import inspect
import pickle
import typing
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest

from tinkex import AdminClient, RestClient, SamplingClient, ServiceClient, TrainingClient, types
from tinkex.concurrency.futures import APIFuture

PAIRS = [
    (getattr(client, name.removesuffix("_async")), method)
    for client in (ServiceClient, TrainingClient, SamplingClient, RestClient, AdminClient)
    for name, method in vars(client).items()
    if name.endswith("_async")
]


def returns(method: Callable[..., Any]) -> str:
    return str(inspect.signature(method).return_annotation)


def test_there_are_pairs() -> None:
    assert len(PAIRS) > 40


@pytest.mark.parametrize(("method", "twin"), PAIRS, ids=lambda method: method.__qualname__)
def test_a_twin_has_the_name_and_the_parameters_of_its_pair(
    method: Callable[..., Any], twin: Callable[..., Any]
) -> None:
    assert (twin.__module__, twin.__qualname__) == (method.__module__, f"{method.__qualname__}_async")
    assert twin.__name__ == f"{method.__name__}_async"
    assert twin.__doc__
    assert twin.__doc__ != method.__doc__
    assert inspect.signature(twin).parameters == inspect.signature(method).parameters
    assert pickle.loads(pickle.dumps(twin)) is twin


@pytest.mark.parametrize(
    ("twin", "shown"),
    [
        (ServiceClient.create_lora_training_client, "TrainingClient"),
        (ServiceClient.create_lora_training_client_async, "APIFuture[TrainingClient]"),
        (ServiceClient.create_rest_client_async, "APIFuture[RestClient]"),
        (TrainingClient.save_weights_and_get_sampling_client, "SamplingClient"),
        (TrainingClient.save_weights_and_get_sampling_client_async, "APIFuture[SamplingClient]"),
        (TrainingClient.create_sampling_client, "SamplingClient"),
        (TrainingClient.create_sampling_client_async, "SamplingClient"),
        (TrainingClient.forward_backward_async, "APIFuture[ForwardBackwardOutput]"),
        (TrainingClient.optim_step_async, "APIFuture[OptimStepResponse]"),
        (SamplingClient.sample_async, "SampleResponse"),
        (SamplingClient.compute_logprobs_async, "list[float | None]"),
        (RestClient.delete_checkpoint_async, "None"),
        (AdminClient.get_audit_log_async, "AuditLogResponse"),
    ],
    ids=lambda value: getattr(value, "__qualname__", value),
)
def test_the_signature_says_what_the_call_or_awaiting_it_gives(twin: Callable[..., Any], shown: str) -> None:
    assert returns(twin) == shown


@pytest.mark.parametrize(("method", "twin"), PAIRS, ids=lambda method: method.__qualname__)
def test_every_pair_gives_the_same(method: Callable[..., Any], twin: Callable[..., Any]) -> None:
    if inspect.iscoroutinefunction(twin):
        assert returns(twin) in (
            returns(method),
            returns(method).removeprefix("APIFuture[").removesuffix("]"),
        )
    else:
        assert returns(twin) == f"APIFuture[{returns(method)}]"


def test_type_hints_agree_with_the_signature() -> None:
    hints = typing.get_type_hints(TrainingClient.save_state_async)
    assert hints["return"] == APIFuture[types.SaveWeightsResponse]
    assert hints["ttl_seconds"] == int | None
    assert typing.get_type_hints(SamplingClient.sample_async)["return"] is types.SampleResponse


def test_a_mock_with_autospec_refuses_what_the_client_would_refuse() -> None:
    training: Any = mock.create_autospec(TrainingClient, instance=True)
    assert isinstance(training.forward_async, mock.AsyncMock)
    assert not isinstance(training.save_weights_and_get_sampling_client_async, mock.AsyncMock)
    training.save_weights_and_get_sampling_client(kind="inflight")
    with pytest.raises(TypeError, match="sort"):
        training.save_weights_and_get_sampling_client(sort="inflight")
    with pytest.raises(TypeError, match="sort"):
        training.forward_async([], "ppo", sort="inflight")


def test_a_misspelt_keyword_is_named_at_the_call() -> None:
    service: Any = object.__new__(ServiceClient)
    for create in (service.create_lora_training_client, service.create_lora_training_client_async):
        with pytest.raises(TypeError, match=r"create_lora_training_client.*'rnak'"):
            create("base", rnak=8)
