"""A custom loss as plain data: its inputs and its traced graph, as ``POST /create_custom_loss`` accepts them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from tinkex.types.data import Data
from tinkex.types.message import Message

CustomLossInputRank = Literal[0, 1, 2]
"""The rank of a tensor: 0 is a scalar, 1 is ``[T]`` (T positions), 2 is ``[T, K]`` (K targets at each)."""
CustomLossNodeOp = Literal["placeholder", "get_attr", "call_function", "call_method", "call_module", "output"]


@dataclass(frozen=True)
class CustomLossInput(Data):
    """One input of a custom loss: ``logprobs`` or a key of ``loss_fn_inputs``, and its rank in every datum."""

    name: str
    rank: CustomLossInputRank


@dataclass(frozen=True)
class CustomLossNode(Data):
    """One step of a traced loss, as ``torch.fx`` records it.

    ``target`` depends on ``op``: the name of a parameter (``placeholder``), the qualified name of a function
    (``call_function``), the name of a tensor method (``call_method``), or ``output``.

    In ``args`` and ``kwargs``, text, numbers, None and lists stand for themselves. Any other value is an object
    with one key: ``{"ref": node}``, ``{"tuple": [...]}``, ``{"dict": {...}}``, ``{"slice": [start, stop,
    step]}``, ``{"ellipsis": true}``, ``{"float": "inf"}`` (or ``"-inf"``, ``"nan"``); or ``dtype``, ``device``,
    ``layout`` or ``memory_format`` with the name that torch gives the value.
    """

    op: CustomLossNodeOp
    name: str
    target: str
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CustomLossGraph(Data, dumped="format nodes"):
    """A traced loss: its nodes in the order in which they run. ``format`` is the version of the encoding."""

    nodes: list[CustomLossNode]
    format: Literal[1] = 1


@dataclass(frozen=True)
class CreateCustomLossResponse(Message):
    """The id of a loss on the server, valid within its session."""

    loss_id: str
    type: Literal["create_custom_loss"] = "create_custom_loss"
