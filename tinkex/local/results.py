"""What work returns, and how it is written: as JSON, or as proto where the client reads it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tinkex.wire import messages_pb2 as pb

from .arrays import Floats, Ints

EMPTY_LOGPROB = -99999.0  # the protocol's mark of an empty top-k cell


class Result(Protocol):
    """Anything a promise resolves to."""

    def to_json(self) -> dict[str, Any]: ...

    def to_proto(self) -> bytes | None:
        """The message, or None where this kind of result travels only as JSON."""


@dataclass(frozen=True)
class Document:
    """A result that is a plain JSON object."""

    body: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        return dict(self.body)

    def to_proto(self) -> bytes | None:
        return None


@dataclass(frozen=True)
class TrainingResult:
    """`outputs`: for each datum, named arrays of its target's shape."""

    outputs: Sequence[Mapping[str, Floats]]
    metrics: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        return {
            "loss_fn_output_type": "ArrayRecord",
            "loss_fn_outputs": [{k: tensor_json(v) for k, v in output.items()} for output in self.outputs],
            "metrics": dict(self.metrics),
        }

    def to_proto(self) -> bytes | None:
        message = pb.ForwardBackwardOutput(loss_fn_output_type="ArrayRecord", metrics=dict(self.metrics))
        for group in _runs_of_equal_width(self.outputs):
            record = message.loss_fn_outputs.add(type_tag="ArrayRecord", num_datums=len(group))
            for name, first in group[0].items():
                values = [np.ascontiguousarray(output[name], "<f4") for output in group]
                tensor = record.fields[name]
                tensor.data = b"".join(value.tobytes() for value in values)
                tensor.offsets = np.cumsum([0, *(value.nbytes for value in values)], dtype="<i8").tobytes()
                tensor.dtype = pb.DTYPE_FLOAT32
                tensor.trailing_shape.extend(first.shape[1:])
        return message.SerializeToString()


def _runs_of_equal_width(outputs: Sequence[Mapping[str, Floats]]) -> Iterable[list[Mapping[str, Floats]]]:
    """A record has one trailing shape, so a batch is cut where it changes."""
    group: list[Mapping[str, Floats]] = []
    for output in outputs:
        if group and _widths(output) != _widths(group[0]):
            yield group
            group = []
        group.append(output)
    if group:
        yield group


def _widths(output: Mapping[str, Floats]) -> dict[str, tuple[int, ...]]:
    return {name: value.shape[1:] for name, value in output.items()}


@dataclass(frozen=True)
class Topk:
    """`ids [n, k]` and `logprobs [n, k]`; a row without entries is `(0, EMPTY_LOGPROB)`."""

    ids: Ints
    logprobs: Floats

    def to_json(self) -> list[list[tuple[int, float]] | None]:
        rows: list[list[tuple[int, float]] | None] = []
        for ids, logprobs in zip(self.ids.tolist(), self.logprobs.tolist(), strict=True):
            row = [(i, lp) for i, lp in zip(ids, logprobs, strict=True) if lp != EMPTY_LOGPROB]
            rows.append(row or None)
        return rows

    def to_proto(self) -> pb.TopkLogprobs:
        return pb.TopkLogprobs(
            token_ids=self.ids.astype("<i4").tobytes(),
            logprobs=self.logprobs.astype("<f4").tobytes(),
            k=self.ids.shape[1],
            length=self.ids.shape[0],
        )


@dataclass(frozen=True)
class SampledSequence:
    """One sample: `tokens [n]`, the model's `logprobs [n]` of them, and why it ended ("stop" or "length")."""

    tokens: Sequence[int]
    logprobs: Sequence[float]
    stop_reason: str
    topk: Topk | None = None


@dataclass(frozen=True)
class SampleResult:
    """A sampling request's answer; `prompt_logprobs [n]` has NaN where a token was not scored."""

    sequences: Sequence[SampledSequence] = field(default_factory=list)
    prompt_logprobs: Floats | None = None
    topk_prompt: Topk | None = None
    target_prompt_logprobs: Floats | None = None
    prompt_alt: tuple[Ints, Floats] | None = None

    def to_json(self) -> dict[str, Any]:
        body: dict[str, Any] = {"type": "sample", "sequences": [_sequence_json(s) for s in self.sequences]}
        if self.prompt_logprobs is not None:
            body["prompt_logprobs"] = [None if math.isnan(v) else v for v in self.prompt_logprobs.tolist()]
        if self.topk_prompt is not None:
            body["topk_prompt_logprobs"] = self.topk_prompt.to_json()
        if self.target_prompt_logprobs is not None:
            body["target_prompt_logprobs"] = tensor_json(self.target_prompt_logprobs)
        if self.prompt_alt is not None:
            tokens, logprobs = self.prompt_alt
            body["prompt_alt_tokens"] = {"tokens": tensor_json(tokens), "logprobs": tensor_json(logprobs)}
        return body

    def to_proto(self) -> bytes | None:
        message = pb.SampleResponse(sequences=[_sequence_proto(s) for s in self.sequences])
        if self.prompt_logprobs is not None:
            message.prompt_logprobs = self.prompt_logprobs.astype("<f4").tobytes()
        if self.topk_prompt is not None:
            message.topk_prompt_logprobs.CopyFrom(self.topk_prompt.to_proto())
        if self.target_prompt_logprobs is not None:
            message.target_prompt_logprobs.CopyFrom(_tensor_proto(self.target_prompt_logprobs))
        if self.prompt_alt is not None:
            message.prompt_alt_tokens.tokens.CopyFrom(_tensor_proto(self.prompt_alt[0]))
            message.prompt_alt_tokens.logprobs.CopyFrom(_tensor_proto(self.prompt_alt[1]))
        return message.SerializeToString()


def _sequence_json(sequence: SampledSequence) -> dict[str, Any]:
    body: dict[str, Any] = {
        "tokens": list(sequence.tokens),
        "logprobs": list(sequence.logprobs),
        "stop_reason": sequence.stop_reason,
    }
    if sequence.topk is not None:
        body["topk_logprobs"] = sequence.topk.to_json()
    return body


def _sequence_proto(sequence: SampledSequence) -> pb.SampledSequence:
    message = pb.SampledSequence(
        stop_reason=pb.STOP if sequence.stop_reason == "stop" else pb.LENGTH,
        tokens=np.asarray(sequence.tokens, "<i4").tobytes(),
        logprobs=np.asarray(sequence.logprobs, "<f4").tobytes(),
    )
    if sequence.topk is not None:
        message.topk_sampled_logprobs.CopyFrom(sequence.topk.to_proto())
    return message


def tensor_json(array: NDArray[Any]) -> dict[str, Any]:
    """A `TensorData`."""
    dtype = "int64" if array.dtype.kind == "i" else "float32"
    return {"data": array.ravel().tolist(), "dtype": dtype, "shape": list(array.shape)}


def _tensor_proto(array: NDArray[Any]) -> pb.Tensor:
    if array.dtype.kind == "i":
        return pb.Tensor(dense=array.astype("<i8").tobytes(), dtype=pb.DTYPE_INT64, shape=array.shape)
    return pb.Tensor(dense=array.astype("<f4").tobytes(), dtype=pb.DTYPE_FLOAT32, shape=array.shape)
