"""Training data, and the rules it must meet."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinkex.local.model.arrays import Array, Floats, Ints
from tinkex.local.model.errors import InvalidInput
from tinkex.local.model.losses import LOSSES


@dataclass(frozen=True)
class Datum:
    """One training example: ``tokens [n]``, ``targets``, and the inputs of the loss.

    ``targets`` and every input are ``[n]``, or ``[n, m]`` where each position has ``m`` targets.
    """

    tokens: Ints
    targets: Ints
    inputs: Mapping[str, Floats]


@dataclass(frozen=True)
class Batch:
    """One forward or forward-backward pass: the model it is for, the data, and the loss to compute."""

    model_id: str
    seq_id: int | None
    data: tuple[Datum, ...]
    loss: str
    config: Mapping[str, float]
    forward_only: bool


def make_batch(
    model_id: str,
    seq_id: int | None,
    data: Sequence[tuple[Sequence[Array], Mapping[str, Array]]],
    loss: str,
    config: Mapping[str, Any],
    *,
    forward_only: bool,
) -> Batch:
    """Return a batch of ``data``: for each datum its chunks of tokens, and the inputs of the loss by name.

    Raises ``InvalidInput``, which names the place, if the data breaks a rule. The rules of a single model are checked
    by ``OfferedModel.check_batch``.
    """
    if loss not in LOSSES:
        raise InvalidInput(f"loss_fn: {loss!r} is unknown; there are {', '.join(LOSSES)}")
    if not data:
        raise InvalidInput("data: must hold at least one datum")
    settings = _settings(loss, config)
    datums = tuple(_datum(f"data[{i}]", tokens, inputs, loss) for i, (tokens, inputs) in enumerate(data))
    return Batch(model_id, seq_id, datums, loss, settings, forward_only)


def _settings(loss: str, config: Mapping[str, Any]) -> dict[str, float]:
    for key, value in config.items():
        if key not in LOSSES[loss].config_keys:
            raise InvalidInput(f"loss_fn_config: {loss} has no setting {key!r}")
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not -sys.float_info.max <= value <= sys.float_info.max:
            raise InvalidInput(f"loss_fn_config.{key}: must be a finite number")
    return {key: float(value) for key, value in config.items()}


def _datum(where: str, chunks: Sequence[Array], inputs: Mapping[str, Array], loss: str) -> Datum:
    tokens = np.concatenate([*chunks, np.zeros(0, np.int64)])
    if not len(tokens):
        raise InvalidInput(f"{where}.model_input: must hold at least one token")
    _check_names(where, inputs, loss)
    targets = inputs["target_tokens"]
    if targets.dtype.kind != "i":
        raise InvalidInput(f"{where}.target_tokens: token ids must be integers")
    if targets.ndim not in (1, 2) or len(targets) != len(tokens) or not targets.size:
        raise InvalidInput(
            f"{where}.target_tokens: shape {list(targets.shape)} does not fit {len(tokens)} input tokens"
        )
    floats = {}
    for name, value in inputs.items():
        if value.shape != targets.shape:
            raise InvalidInput(
                f"{where}.{name}: shape {list(value.shape)} differs from target_tokens {list(targets.shape)}"
            )
        if name != "target_tokens":
            if not np.isfinite(value).all():
                raise InvalidInput(f"{where}.{name}: must be finite")
            floats[name] = value.astype(np.float32, copy=False)
    return Datum(tokens.astype(np.int64, copy=False), targets.astype(np.int64, copy=False), floats)


def _check_names(where: str, inputs: Mapping[str, Array], loss: str) -> None:
    rules = LOSSES[loss]
    missing = sorted(rules.required - inputs.keys())
    if missing:
        raise InvalidInput(f"{where}: {loss} needs loss_fn_inputs {', '.join(missing)}")
    unknown = sorted(inputs.keys() - rules.required - rules.optional)
    if unknown:
        raise InvalidInput(f"{where}: {loss} knows no loss_fn_inputs {', '.join(unknown)}")
