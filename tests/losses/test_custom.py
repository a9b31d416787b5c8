"""Losses of the user's own, computed here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from clients import DATUM, seq_ids

import tinkex
from tinkex import types
from tinkex.testing import TinkerServer


def test_a_custom_loss_sends_its_negative_gradient_as_weights(
    server: TinkerServer, training: tinkex.TrainingClient
) -> None:
    seen: list[float] = []

    def loss(
        data: list[types.Datum], logprobs: list[np.ndarray]
    ) -> tuple[float, dict[str, float], list[np.ndarray]]:
        assert data == [DATUM]
        seen.extend(float(value) for value in logprobs[0])
        return 3.5, {"entropy": 1.0}, [2.0 * values for values in logprobs]

    def with_gradients(data: list[types.Datum], logprobs: list) -> tuple:  # type: ignore[type-arg]
        as_arrays = [np.asarray(getattr(values, "detach", lambda v=values: v)()) for values in logprobs]
        return loss(data, as_arrays)

    output = training.forward_backward_custom([DATUM], with_gradients).result(60)
    assert output.metrics["loss:sum"] == 3.5
    assert output.metrics["entropy"] == 1.0
    surrogate = output.metrics["surrogate_loss:sum"]
    assert surrogate == pytest.approx(sum(2 * value**2 for value in seen), rel=1e-4), "of the backward pass"
    [backward] = server.requests.to("/forward_backward")
    weights = backward.json()["forward_backward_input"]["data"][0]["loss_fn_inputs"]["weights"]["data"]
    assert weights == [-2 * value for value in seen], "the gradient is twice the logprob"
    assert len(server.requests.to("/forward")) == 1


def test_the_data_of_a_custom_loss_may_come_from_an_iterator(training: tinkex.TrainingClient) -> None:
    def loss(data: list[types.Datum], logprobs: list) -> tuple:  # type: ignore[type-arg]
        return len(data), {}, [np.zeros(2, np.float32) for _ in logprobs]

    output = training.forward_backward_custom(iter([DATUM, DATUM]), loss).result(60)  # type: ignore[arg-type]
    assert output.metrics["loss:sum"] == 2.0


def test_a_datum_without_weights_is_sent_forward_with_zeros(
    server: TinkerServer, training: tinkex.TrainingClient
) -> None:
    bare = types.Datum(DATUM.model_input, {"target_tokens": [[2, 3], [4, 5]], "advantages": [1.0, 2.0]})
    training.forward_backward_custom([bare], lambda data, logprobs: (0, {}, [np.zeros((2, 2))])).result(60)
    [forward] = server.requests.to("/forward")
    [sent] = forward.json()["forward_input"]["data"]
    assert set(sent["loss_fn_inputs"]) == {"target_tokens", "weights"}
    assert sent["loss_fn_inputs"]["weights"] == {"data": [0.0] * 4, "dtype": "float32", "shape": [2, 2]}


def test_an_error_in_a_custom_loss_reaches_the_caller_and_the_lane_goes_on(
    server: TinkerServer, training: tinkex.TrainingClient
) -> None:
    def loss(data: object, logprobs: object) -> tuple[Any, dict[str, float]]:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        training.forward_backward_custom([DATUM], loss).result(60)
    training.optim_step().result(60)
    assert seq_ids(server) == [1, 2]


def test_a_custom_loss_is_of_logprobs_and_of_nothing_else(
    server: TinkerServer, training: tinkex.TrainingClient
) -> None:
    def loss(data: object, logprobs: object) -> tuple[float, dict[str, float], list[list[float]]]:
        return 0.0, {}, [[0.0, 0.0]]

    with pytest.warns(DeprecationWarning, match="loss_type_input"):
        training.forward_backward_custom([DATUM], loss, loss_type_input="logprobs").result(60)
    with pytest.raises(tinkex.InputError, match="'logprobs', not 'logits'"):
        training.forward_backward_custom([DATUM], loss, loss_type_input="logits")  # type: ignore[arg-type]
    assert len(server.requests.to("/forward_backward")) == 1
