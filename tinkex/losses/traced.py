"""Custom losses traced by ``torch.fx`` into a graph, which the server or this process runs for each datum.

What a traced loss may do and how its graph is encoded follow the official SDK 0.38.0.
"""

from __future__ import annotations

import builtins
import hashlib
import importlib
import inspect
import math
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tinkex.errors import InputError
from tinkex.types.custom_loss import CustomLossGraph, CustomLossInput, CustomLossInputRank, CustomLossNode
from tinkex.types.datum import Datum

PerDatumLossFn = Callable[..., tuple[Any, Mapping[str, Any]]]
"""A function ``(logprobs, *inputs) -> (loss, metrics)`` over the torch tensors of one datum.

Each parameter after ``logprobs`` has the name of the ``loss_fn_inputs`` entry that it receives. The loss and
each metric are scalar tensors. A metric is named ``custom/<name>:sum`` or ``custom/<name>:mean``, which says how
the values of the datums are combined."""

MAX_INPUTS = 16
"""The most parameters of a loss, ``logprobs`` included."""
_INPUT_NAME = re.compile(r"[a-z_][a-z0-9_]{0,63}")
_METRIC_NAME = re.compile(r"custom/[a-z0-9_./-]{1,64}:(sum|mean)")
_LIBRARIES = ("torch", "math", "operator", "_operator")
"""The modules whose functions a loss may call. Python's operators are functions of the last two."""
_FORBIDDEN_METHODS = {
    "backward": "the backward pass is run for it",
    **dict.fromkeys(("item", "numpy", "tolist"), "every value, metrics too, must stay a tensor"),
}
# torch.fx replaces methods of torch.nn.Module while it traces. Of two threads that trace at the same time, one
# could restore the replacements of the other instead of the original methods.
_tracing = threading.Lock()


def _fresh_lock() -> None:
    global _tracing
    _tracing = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fresh_lock)


@dataclass(frozen=True)
class LossHandle:
    """A loss made by ``ServiceClient.create_custom_loss``, for ``forward_backward_custom`` in the same session.

    A handle can be called like a ``CustomLossFn``, as ``(data, logprobs) -> (loss, metrics)``. It sums the
    losses of the datums, and combines the metrics as their names say.
    """

    name: str
    """The name of the function that was traced."""
    inputs: tuple[CustomLossInput, ...]
    """The parameters of the function in order: ``logprobs``, then the ``loss_fn_inputs`` that it reads."""
    session_id: str
    graph: Any = field(repr=False, compare=False)
    """The ``torch.fx.GraphModule`` that runs in place of the traced function."""
    loss_id: str | None = None
    """The id of the loss on the server; None if the loss runs in this process."""

    @property
    def key(self) -> str:
        """A hash of the computation and its inputs: two losses with the same key compute the same."""
        return hashlib.sha256(f"{self.graph.code}{self.inputs}".encode()).hexdigest()

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of the ``loss_fn_inputs`` that the loss reads, in the order of its parameters."""
        return tuple(given.name for given in self.inputs[1:])

    def check(self, data: Sequence[Datum], session_id: str) -> None:
        """Raise ``InputError`` unless the loss belongs to the session, and every datum has inputs of its ranks.

        ``logprobs`` have the shape of ``target_tokens``, so these must have the rank of ``logprobs``.
        """
        if self.session_id != session_id:
            raise InputError(
                f"loss {self.name!r} was made in session {self.session_id}, and works only with its clients"
            )
        for at, datum in enumerate(data):
            for key, given in zip(("target_tokens", *self.input_names), self.inputs):
                if key not in datum.loss_fn_inputs:
                    raise InputError(
                        f"data[{at}] has no loss_fn_inputs[{key!r}], which loss {self.name!r} reads"
                    )
                rank = len(datum.loss_fn_inputs[key].shape)
                if rank != given.rank:
                    raise InputError(
                        f"data[{at}] has loss_fn_inputs[{key!r}] of rank {rank}; "
                        f"loss {self.name!r} takes {given.name} of rank {given.rank}"
                    )

    def __call__(self, data: Sequence[Datum], logprobs: Sequence[Any]) -> tuple[Any, dict[str, Any]]:
        """Return the loss and the metrics of ``data``, on which ``check`` must have been called.

        Raises ``InputError`` if the loss of a datum is not a scalar.
        """
        total: Any = 0.0
        metrics: dict[str, Any] = {}
        for datum, of_datum in zip(data, logprobs):
            inputs = [datum.loss_fn_inputs[name].to_torch() for name in self.input_names]
            loss, values = self.graph(of_datum, *inputs)
            if loss.ndim:
                raise InputError(f"loss {self.name!r} must be a scalar, but has shape {list(loss.shape)}")
            total = total + loss
            for name, value in values.items():
                share = value / len(data) if name.endswith(":mean") else value
                metrics[name] = metrics.get(name, 0.0) + share
        return total, metrics


def trace(fn: PerDatumLossFn, input_ranks: Mapping[str, CustomLossInputRank], session_id: str) -> LossHandle:
    """Trace ``fn`` into a handle that runs in this process.

    Raises ``ImportError`` if torch is not installed, and ``InputError`` if ``fn`` breaks a rule.
    """
    try:
        fx = importlib.import_module("torch.fx")
    except ImportError as error:
        raise ImportError("create_custom_loss traces with torch: pip install torch") from error
    name = getattr(fn, "__name__", type(fn).__name__)
    try:
        inputs = _inputs(fn, input_ranks)
        try:
            with _tracing:
                graph = fx.symbolic_trace(fn)
        except Exception as error:
            raise InputError(
                f"torch.fx cannot trace it ({error}); it may not branch on the values of tensors, "
                "nor call libraries other than torch and math"
            ) from error
        for node in graph.graph.nodes:
            _check_node(node)
        encode(graph)
    except InputError as error:
        raise InputError(f"custom loss {name}: {error}") from error.__cause__
    return LossHandle(name, inputs, session_id, graph)


def encode(graph: Any) -> CustomLossGraph:
    """Return a traced graph as plain data. Raises ``InputError`` if an argument in it cannot be encoded."""
    return CustomLossGraph(
        [
            CustomLossNode(
                node.op,
                node.name,
                _qualified_name(node.target) if node.op == "call_function" else str(node.target),
                [_encode_argument(argument) for argument in node.args],
                {name: _encode_argument(argument) for name, argument in node.kwargs.items()},
            )
            for node in graph.graph.nodes
        ]
    )


def _inputs(fn: Any, ranks: Mapping[str, CustomLossInputRank]) -> tuple[CustomLossInput, ...]:
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        raise InputError("is no function whose parameters can be read") from None
    names = [parameter.name for parameter in parameters]
    if names[:1] != ["logprobs"]:
        raise InputError("the first parameter must be logprobs, the others loss_fn_inputs that it reads")
    if len(names) > MAX_INPUTS:
        raise InputError(f"has {len(names)} parameters; at most {MAX_INPUTS} are possible")
    for parameter in parameters:
        plain = parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        if not plain or parameter.default is not parameter.empty:
            raise InputError(f"parameter {parameter.name!r} must be positional and have no default")
        if not _INPUT_NAME.fullmatch(parameter.name):
            raise InputError(f"parameter {parameter.name!r} must be a short name in lower case")
    if not isinstance(ranks, Mapping) or set(ranks) != set(names):
        raise InputError(f"input_ranks must give the rank of each of {names}, not {ranks!r}")
    for name, rank in ranks.items():
        if isinstance(rank, bool) or rank not in (0, 1, 2):
            raise InputError(f"the rank of {name} must be 0, 1 or 2, not {rank!r}")
    if ranks["logprobs"] == 0:
        raise InputError("the rank of logprobs must be 1 ([T]) or 2 ([T, K])")
    return tuple(CustomLossInput(name, ranks[name]) for name in names)


def _check_node(node: Any) -> None:
    if node.op == "call_function":
        library = (getattr(node.target, "__module__", None) or "an unknown library").split(".")[0]
        # fx records the attribute access x.shape as a call of getattr.
        if node.target is not builtins.getattr and library not in _LIBRARIES:
            function = getattr(node.target, "__qualname__", node.target)
            raise InputError(f"calls {function} of {library}, and only torch and math may be called")
    elif node.op == "call_method":
        if node.target in _FORBIDDEN_METHODS:
            raise InputError(f"calls {node.target}(): {_FORBIDDEN_METHODS[node.target]}")
        if not hasattr(importlib.import_module("torch").Tensor, node.target):
            raise InputError(f"calls {node.target}(), which tensors do not have")
    elif node.op == "call_module":
        raise InputError(f"calls module {node.target}; functions, as of torch.nn.functional, will do")
    elif node.op == "get_attr":
        raise InputError(f"captures a tensor ({node.target}); it may read only its parameters")
    elif node.op == "output":
        _check_output(node.args[0])


def _check_output(output: Any) -> None:
    # A value that was computed from the inputs is a node of the graph; any other value is a constant.
    node = importlib.import_module("torch.fx").Node
    if not isinstance(output, (tuple, list)) or len(output) != 2 or not isinstance(output[1], dict):
        raise InputError("must return (loss, metrics), the metrics a dict")
    loss, metrics = output
    if not isinstance(loss, node):
        raise InputError(f"must return a loss computed from its tensors, not {loss!r}")
    for name, value in metrics.items():
        if not isinstance(name, str) or not _METRIC_NAME.fullmatch(name):
            raise InputError(
                f"metric {name!r} must be named custom/<name>:sum or custom/<name>:mean, in lower case"
            )
        if not isinstance(value, node):
            raise InputError(f"metric {name!r} must be computed from its tensors, not {value!r}")


def _qualified_name(function: Any) -> str:
    name: str = importlib.import_module("torch.fx.node")._get_qualified_name(function)
    # Servers know the operators by their public module, operator, not by _operator.
    return name.removeprefix("_") if name.startswith("_operator.") else name


def _encode_argument(value: Any) -> Any:
    torch = importlib.import_module("torch")
    if isinstance(value, torch.fx.Node):
        return {"ref": value.name}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, list):
        return [_encode_argument(each) for each in value]
    if isinstance(value, tuple):
        return {"tuple": [_encode_argument(each) for each in value]}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _encode_argument(each) for key, each in value.items()}}
    if isinstance(value, slice):
        return {"slice": [_encode_argument(each) for each in (value.start, value.stop, value.step)]}
    if value is Ellipsis:
        return {"ellipsis": True}
    for kind in ("dtype", "device", "layout", "memory_format"):
        if isinstance(value, getattr(torch, kind)):
            return {kind: str(value).removeprefix("torch.")}
    raise InputError(f"passes a {type(value).__name__} to an operation, which cannot be sent to a server")
