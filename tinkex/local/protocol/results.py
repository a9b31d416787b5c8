"""The results of requests, written as JSON, or as proto for a client that accepts it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinkex.local.model.arrays import Array, Floats
from tinkex.local.model.outputs import EMPTY_LOGPROB, SampledSequence, SampleOutput, Topk, TrainingOutput
from tinkex.wire import messages_pb2 as pb

_OUTPUT_TYPE = "ArrayRecord"


@dataclass(frozen=True)
class Document:
    """A result that has no proto message, and so is always sent as JSON."""

    body: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object."""
        return dict(self.body)

    def to_proto(self) -> bytes | None:
        """Return None, because this result has no proto message."""
        return None


@dataclass(frozen=True)
class TrainingResult:
    """The result of a forward or forward-backward request."""

    output: TrainingOutput

    def to_json(self) -> dict[str, Any]:
        """A ``ForwardBackwardOutput`` as JSON."""
        return {
            "loss_fn_output_type": _OUTPUT_TYPE,
            "loss_fn_outputs": [
                {k: _tensor_json(v) for k, v in each.items()} for each in self.output.outputs
            ],
            "metrics": dict(self.output.metrics),
        }

    def to_proto(self) -> bytes | None:
        """A ``ForwardBackwardOutput`` message."""
        message = pb.ForwardBackwardOutput(
            loss_fn_output_type=_OUTPUT_TYPE, metrics=dict(self.output.metrics)
        )
        for group in _runs_of_equal_width(self.output.outputs):
            record = message.loss_fn_outputs.add(type_tag=_OUTPUT_TYPE, num_datums=len(group))
            for name, first in group[0].items():
                values = [np.ascontiguousarray(output[name], "<f4") for output in group]
                tensor = record.fields[name]
                tensor.data = b"".join(value.tobytes() for value in values)
                tensor.offsets = np.cumsum([0, *(value.nbytes for value in values)], dtype="<i8").tobytes()
                tensor.dtype = pb.DTYPE_FLOAT32
                tensor.trailing_shape.extend(first.shape[1:])
        return message.SerializeToString()


@dataclass(frozen=True)
class SampleResult:
    """The result of a sample request."""

    output: SampleOutput

    def to_json(self) -> dict[str, Any]:
        """A ``SampleResponse`` as JSON."""
        output = self.output
        body: dict[str, Any] = {"sequences": [_sequence_json(each) for each in output.sequences]}
        if output.prompt_logprobs is not None:
            body["prompt_logprobs"] = [None if math.isnan(v) else v for v in output.prompt_logprobs.tolist()]
        if output.topk_prompt is not None:
            body["topk_prompt_logprobs"] = _topk_json(output.topk_prompt)
        if output.target_prompt_logprobs is not None:
            body["target_prompt_logprobs"] = _tensor_json(output.target_prompt_logprobs)
        if output.prompt_alt is not None:
            tokens, logprobs = output.prompt_alt
            body["prompt_alt_tokens"] = {"tokens": _tensor_json(tokens), "logprobs": _tensor_json(logprobs)}
        return body

    def to_proto(self) -> bytes | None:
        """A ``SampleResponse`` message."""
        output = self.output
        message = pb.SampleResponse(sequences=[_sequence_proto(each) for each in output.sequences])
        if output.prompt_logprobs is not None:
            message.prompt_logprobs = output.prompt_logprobs.astype("<f4").tobytes()
        if output.topk_prompt is not None:
            message.topk_prompt_logprobs.CopyFrom(_topk_proto(output.topk_prompt))
        if output.target_prompt_logprobs is not None:
            message.target_prompt_logprobs.CopyFrom(_tensor_proto(output.target_prompt_logprobs))
        if output.prompt_alt is not None:
            message.prompt_alt_tokens.tokens.CopyFrom(_tensor_proto(output.prompt_alt[0]))
            message.prompt_alt_tokens.logprobs.CopyFrom(_tensor_proto(output.prompt_alt[1]))
        return message.SerializeToString()


def _runs_of_equal_width(outputs: Sequence[Mapping[str, Floats]]) -> Iterable[list[Mapping[str, Floats]]]:
    """Cut ``outputs`` wherever the number of targets per position changes.

    A record of the message has only one such number.
    """
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


def _sequence_json(sequence: SampledSequence) -> dict[str, Any]:
    body: dict[str, Any] = {
        "tokens": list(sequence.tokens),
        "logprobs": list(sequence.logprobs),
        "stop_reason": sequence.stop_reason,
    }
    if sequence.topk is not None:
        body["topk_logprobs"] = _topk_json(sequence.topk)
    return body


def _sequence_proto(sequence: SampledSequence) -> pb.SampledSequence:
    message = pb.SampledSequence(
        stop_reason=pb.STOP_REASON_STOP if sequence.stop_reason == "stop" else pb.STOP_REASON_LENGTH,
        tokens=np.asarray(sequence.tokens, "<i4").tobytes(),
        logprobs=np.asarray(sequence.logprobs, "<f4").tobytes(),
    )
    if sequence.topk is not None:
        message.topk_sampled_logprobs.CopyFrom(_topk_proto(sequence.topk))
    return message


def _topk_json(topk: Topk) -> list[list[tuple[int, float]] | None]:
    """A list of pairs for each position; None where nothing was scored."""
    rows: list[list[tuple[int, float]] | None] = []
    for ids, logprobs in zip(topk.ids.tolist(), topk.logprobs.tolist(), strict=True):
        row = [(i, lp) for i, lp in zip(ids, logprobs, strict=True) if lp != EMPTY_LOGPROB]
        rows.append(row or None)
    return rows


def _topk_proto(topk: Topk) -> pb.TopkLogprobs:
    return pb.TopkLogprobs(
        token_ids=topk.ids.astype("<i4").tobytes(),
        logprobs=topk.logprobs.astype("<f4").tobytes(),
        k=topk.ids.shape[1],
        length=topk.ids.shape[0],
    )


def _tensor_json(array: Array) -> dict[str, Any]:
    dtype = "int64" if array.dtype.kind == "i" else "float32"
    return {"data": array.ravel().tolist(), "dtype": dtype, "shape": list(array.shape)}


def _tensor_proto(array: Array) -> pb.Tensor:
    if array.dtype.kind == "i":
        return pb.Tensor(dense=array.astype("<i8").tobytes(), dtype=pb.DTYPE_INT64, shape=array.shape)
    return pb.Tensor(dense=array.astype("<f4").tobytes(), dtype=pb.DTYPE_FLOAT32, shape=array.shape)
