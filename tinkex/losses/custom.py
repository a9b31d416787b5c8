"""A user's own loss over log-probabilities, by one forward and one backward pass.

By the chain rule, d loss / d weights = sum over tokens of (d loss / d logprob) (d logprob / d weights). A
``cross_entropy`` pass with weights ``-d loss / d logprob`` has exactly that gradient, since its loss is
``-sum(weight * logprob)``.
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
"""``(data, logprobs) -> (loss, metrics)`` over torch tensors, one per datum, of the shape of its
``target_tokens``; or, without torch, ``(loss, metrics, gradients)`` over numpy arrays, with d loss / d logprob
for each datum."""


def forward_data(data: Sequence[Datum]) -> list[Datum]:
    """The datums with ``target_tokens`` and ``weights`` only, which is what ``cross_entropy`` takes.

    Weights are zero where there are none, as the official SDK sends them; the logprobs do not depend on them.
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
    """The datums of the backward pass, and the metrics of the user's loss (itself as ``loss:sum``).

    Errors of ``loss_fn`` pass through; ``InputError`` if what it returns is not a loss with gradients.
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
    # torch warns of a number taken from a tensor that is still part of a gradient's computation.
    return float(value.detach() if hasattr(value, "detach") else value)
