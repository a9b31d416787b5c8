"""A warning points at the line of the program that caused it, whichever way the call goes."""

from __future__ import annotations

import asyncio
import inspect
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from clients import DATUM, config

import tinkex
from tinkex.testing import TinkerServer


def loss(data: object, logprobs: object) -> tuple[float, dict[str, float], list[list[float]]]:
    return 0.0, {}, [[0.0, 0.0]]


def line_of(function: Callable[..., object]) -> tuple[str, int]:
    """Where the body of a function of one statement is."""
    lines, first = inspect.getsourcelines(function)
    return __file__, first + len(lines) - 1


def make_with_an_unknown_argument(server: TinkerServer) -> tinkex.ServiceClient:
    return tinkex.ServiceClient(config=config(server), novelty=1)


def make_a_sampler(training: tinkex.TrainingClient) -> object:
    return training.save_weights_and_get_sampling_client("name")


def start_a_sampler(training: tinkex.TrainingClient) -> object:
    return training.save_weights_and_get_sampling_client_async("name").result(60)


def call_a_loss(training: tinkex.TrainingClient) -> object:
    return training.forward_backward_custom([DATUM], loss, loss_type_input="logprobs").result(60)


async def await_a_loss(training: tinkex.TrainingClient) -> object:
    return await training.forward_backward_custom_async([DATUM], loss, loss_type_input="logprobs")


@pytest.mark.parametrize("call", [make_a_sampler, start_a_sampler, call_a_loss, await_a_loss])
def test_a_call_that_is_deprecated(call: Callable[..., Any], training: tinkex.TrainingClient) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call(training)
        if isinstance(result, Awaitable) and inspect.iscoroutine(result):
            asyncio.run(_awaited(result))
    [warning] = [one for one in caught if issubclass(one.category, DeprecationWarning)]
    assert (warning.filename, warning.lineno) == line_of(call)


def test_a_client_that_is_given_an_unknown_argument(server: TinkerServer) -> None:
    with pytest.warns(FutureWarning, match="novelty") as caught:
        make_with_an_unknown_argument(server).close()
    assert (caught[0].filename, caught[0].lineno) == line_of(make_with_an_unknown_argument)


async def _awaited(call: Awaitable[Any]) -> object:
    return await (await call)
