"""A custom loss over log-probabilities, computed in this process between a forward and a backward pass.

By the chain rule, the gradient of the loss is the sum over tokens of ``(d loss / d logprob) * (d logprob /
d model weights)``. The loss ``cross_entropy`` is ``-sum(weight * logprob)``, so a ``cross_entropy`` pass in
which each token has the weight ``-d loss / d logprob`` has exactly this gradient.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tinkex.errors import InputError
from tinkex.types.datum import Datum
from tinkex.types.tensor_data import TensorData
from tinkex.types.training import ForwardBackwardOutput

CustomLossFn = Callable[
    [list[Datum], list[Any]], tuple[Any, dict[str, float]] | tuple[Any, dict[str, float], Sequence[Any]]
]
"""A function ``(data, logprobs) -> (loss, metrics)``.

``logprobs`` has one torch tensor per datum, of the shape of its ``target_tokens``. ``loss`` is a scalar tensor,
the sum or mean that is to be minimized. Without torch ``logprobs`` are numpy arrays, and the function returns
``(loss, metrics, gradients)``, where ``gradients`` has the array ``d loss / d logprob`` of each datum."""


def forward_data(data: Sequence[Datum]) -> list[Datum]:
    """Return the datums of the forward pass, with only the ``target_tokens`` and ``weights`` of ``data``.

    A datum without ``weights`` gets zeros, as in the official SDK; the logprobs do not depend on them. Raises
    ``InputError`` if a datum has no ``target_tokens``.
    """
    forward = []
    for at, datum in enumerate(data):
        targets = datum.loss_fn_inputs.get("target_tokens")
        if targets is None:
            raise InputError(f"datum {at} has no target_tokens, so it has no logprobs for a custom loss")
        weights = datum.loss_fn_inputs.get("weights")
        if weights is None:
            weights = TensorData.from_packed(bytes(4 * math.prod(targets.shape)), "float32", targets.shape)
        forward.append(_weighted(datum, weights))
    return forward


def backward_data(
    data: Sequence[Datum], forward: ForwardBackwardOutput, loss_fn: CustomLossFn
) -> tuple[list[Datum], dict[str, float]]:
    """Call ``loss_fn``; return the datums of the backward pass, and the metrics.

    The metrics are those of ``loss_fn``, and the loss as ``loss:sum``. An error that ``loss_fn`` raises passes
    through. Raises ``InputError`` if its return value has the wrong form, or gradients of the wrong shape.
    """
    logprobs = [output["logprobs"] for output in forward.loss_fn_outputs]
    torch: Any
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        torch = None
    leaves: list[Any] = [t.to_numpy() if torch is None else t.to_torch().requires_grad_() for t in logprobs]
    returned = loss_fn(list(data), leaves)
    if not isinstance(returned, tuple) or len(returned) not in (2, 3):
        raise InputError("a custom loss returns (loss, metrics), or (loss, metrics, gradients) without torch")
    loss, metrics = returned[0], returned[1]
    gradients: Sequence[Any]
    if len(returned) == 3:
        gradients = returned[2]
    elif torch is None:
        raise InputError("torch is not installed, so a custom loss must return its gradients as a third item")
    else:
        loss.backward()
        gradients = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]
    if len(gradients) != len(leaves):
        raise InputError(f"a custom loss must return {len(leaves)} gradients, not {len(gradients)}")
    backward = []
    for datum, logprob, gradient in zip(data, logprobs, gradients):
        weights = TensorData(gradient, "float32")
        if weights.shape != logprob.shape:
            raise InputError(f"a gradient has shape {weights.shape}, its logprobs {logprob.shape}")
        negated = TensorData([-value for value in weights.data], "float32", weights.shape)
        backward.append(_weighted(datum, negated))
    return backward, {**_floats(metrics), "loss:sum": _float(loss)}


def _weighted(datum: Datum, weights: TensorData) -> Datum:
    inputs = {"target_tokens": datum.loss_fn_inputs["target_tokens"], "weights": weights}
    return replace(datum, loss_fn_inputs=inputs)


def _floats(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: _float(value) for name, value in metrics.items()}


def _float(value: Any) -> float:
    # torch warns when a number is read from a tensor that requires a gradient, so the tensor is detached first.
    return float(value.detach() if hasattr(value, "detach") else value)
