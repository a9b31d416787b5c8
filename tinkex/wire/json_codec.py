"""Prompts, training bodies and results as JSON objects."""

from __future__ import annotations

import base64
import itertools
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from tinkex.types.datum import Datum
from tinkex.types.model_input import ModelInput, ModelInputChunk
from tinkex.types.sampling import PromptAltTokens, SampledSequence, SampleResponse, TopkRows
from tinkex.types.tensor_data import TensorData, TensorDtype, check_csr
from tinkex.types.training import ForwardBackwardOutput
from tinkex.wire.validation import (
    check_count,
    check_logprobs,
    check_shape,
    check_tokens,
    decode,
    matching_logprobs,
)

# The dtype to which each dtype of a server is converted.
_DTYPES: dict[str, TensorDtype] = {
    **dict.fromkeys(("float32", "float64", "float16", "bfloat16"), "float32"),
    **dict.fromkeys(("int64", "int32", "int16", "int8", "uint8", "uint16", "uint32"), "int64"),
}


def encode_model_input(model_input: ModelInput) -> dict[str, Any]:
    """Return a model input as ``{"chunks": [...]}``."""
    return {"chunks": [_encode_chunk(chunk) for chunk in model_input.chunks]}


def encode_tensor(tensor: TensorData) -> dict[str, Any]:
    """Return a tensor as ``{"data", "dtype", "shape"}``, and if it is sparse, the two lists of indices."""
    encoded: dict[str, Any] = {"data": tensor.data, "dtype": tensor.dtype, "shape": tensor.shape}
    if tensor.sparse_crow_indices is not None:
        encoded["sparse_crow_indices"] = tensor.sparse_crow_indices
        encoded["sparse_col_indices"] = tensor.sparse_col_indices
    return encoded


def encode_forward_backward(
    model_id: str,
    seq_id: int,
    data: Sequence[Datum],
    loss_fn: str,
    loss_fn_config: Mapping[str, float | str] | None,
    *,
    forward_only: bool,
) -> dict[str, Any]:
    """Return the body of a forward or forward-backward request."""
    work: dict[str, Any] = {
        "data": [
            {
                "model_input": encode_model_input(datum.model_input),
                "loss_fn_inputs": {
                    name: encode_tensor(tensor) for name, tensor in datum.loss_fn_inputs.items()
                },
            }
            for datum in data
        ],
        "loss_fn": loss_fn,
    }
    if loss_fn_config:
        work["loss_fn_config"] = dict(loss_fn_config)
    name = "forward_input" if forward_only else "forward_backward_input"
    return {"model_id": model_id, "seq_id": seq_id, name: work}


def decode_sample(answer: Any) -> SampleResponse:
    """Read the result of a sample request. Raises ``APIResponseValidationError`` if it is not valid."""
    return decode("sample result", _read_sample, answer)


def decode_forward_backward(answer: Any) -> ForwardBackwardOutput:
    """Read the result of a forward or forward-backward request.

    Raises ``APIResponseValidationError`` if it is not valid.
    """
    return decode("forward_backward result", _read_forward_backward, answer)


def _encode_chunk(chunk: ModelInputChunk) -> dict[str, Any]:
    if chunk.type == "encoded_text":
        return {"type": chunk.type, "tokens": chunk.tokens}
    if chunk.type == "dmel":
        return {"type": chunk.type, "dmel": _text(chunk.dmel)}
    encoded: dict[str, Any] = {"type": chunk.type, "format": chunk.format}
    if chunk.type == "image":
        encoded["data"] = _text(chunk.data)
    else:
        encoded["location"] = chunk.location
    if chunk.expected_tokens is not None:
        encoded["expected_tokens"] = chunk.expected_tokens
    return encoded


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _read_sample(answer: Any) -> SampleResponse:
    fields = _object("it", answer)
    cached, alt = fields.get("prompt_cache_hit_tokens"), fields.get("prompt_alt_tokens")
    prompt, target = fields.get("prompt_logprobs"), fields.get("target_prompt_logprobs")
    return SampleResponse(
        sequences=[_read_sequence(sequence) for sequence in _list("sequences", fields["sequences"])],
        prompt_logprobs=None if prompt is None else _logprobs("prompt_logprobs", prompt, gaps=True),
        topk_prompt_logprobs=_read_topk(fields.get("topk_prompt_logprobs")),
        target_prompt_logprobs=None if target is None else _read_tensor(target),
        prompt_cache_hit_tokens=0
        if cached is None
        else _whole_numbers("prompt_cache_hit_tokens", [cached])[0],
        prompt_alt_tokens=(
            None
            if alt is None
            else PromptAltTokens(_read_tensor(alt["tokens"]), _read_tensor(alt["logprobs"]))
        ),
    )


def _read_sequence(sequence: Any) -> SampledSequence:
    fields = _object("a sequence", sequence)
    tokens, logprobs = _tokens("tokens", fields["tokens"]), fields.get("logprobs")
    return SampledSequence(
        stop_reason="length" if _words("stop_reason", fields.get("stop_reason")) == "length" else "stop",
        tokens=tokens,
        logprobs=None if logprobs is None else matching_logprobs(tokens, _logprobs("logprobs", logprobs)),
        topk_logprobs=_read_topk(fields.get("topk_logprobs")),
    )


def _read_topk(rows: Any) -> TopkRows | None:
    if rows is None:
        return None
    cells = [cell for row in _list("top-k rows", rows) if row for cell in row]
    if not _are(cells, list) or set(map(len, cells)) - {2}:
        raise ValueError("a top-k row must be a list of pairs")
    tokens = _tokens("top-k tokens", [token for token, _ in cells])
    logprobs = _logprobs("top-k logprobs", [logprob for _, logprob in cells])
    pairs = zip(tokens, logprobs)
    return [list(itertools.islice(pairs, len(row))) if row else None for row in rows]


def _read_forward_backward(answer: Any) -> ForwardBackwardOutput:
    fields = _object("it", answer)
    metrics = fields.get("metrics")
    return ForwardBackwardOutput(
        loss_fn_output_type=_words("loss_fn_output_type", fields.get("loss_fn_output_type")) or "",
        loss_fn_outputs=[
            {name: _read_tensor(tensor) for name, tensor in _object("an output", output).items()}
            for output in _list("loss_fn_outputs", fields["loss_fn_outputs"])
        ],
        metrics={} if metrics is None else _read_metrics(metrics),
    )


def _read_metrics(metrics: Any) -> dict[str, float]:
    found = _object("metrics", metrics)
    for value in _numbers("metrics", list(found.values())):
        float(value)  # raises for an integer that is too large for a float
    return found


def _read_tensor(tensor: Any) -> TensorData:
    fields = _object("a tensor", tensor)
    dtype = _DTYPES[fields.get("dtype", "float32")]
    values = _numbers("the data of a tensor", fields["data"])
    packed = struct.pack(f"<{len(values)}{'f' if dtype == 'float32' else 'q'}", *values)
    shape, crow, col = (
        fields.get("shape"),
        fields.get("sparse_crow_indices"),
        fields.get("sparse_col_indices"),
    )
    shape = [len(values)] if shape is None else _whole_numbers("shape", shape)
    if crow is None and col is None:
        check_count(shape, len(values))
    else:
        check_shape(shape)
        check_csr(
            len(values), shape, _whole_numbers("crow indices", crow), _whole_numbers("col indices", col)
        )
    return TensorData.from_packed(packed, dtype, shape, crow, col)


def _object(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be an object, not {type(value).__name__}")
    return value


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{name} must be a list, not {type(value).__name__}")
    return value


def _words(name: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} must be text, not {type(value).__name__}")
    return value


def _are(values: list[Any], *kinds: type) -> bool:
    """Return whether every value is exactly of one of these types. A bool does not count as an integer."""
    found = list(map(type, values))
    left = len(found)
    for kind in kinds:
        left -= found.count(kind) if left else 0
    return not left


def _whole_numbers(name: str, values: Any) -> list[int]:
    if not _are(_list(name, values), int):
        raise ValueError(f"{name} must be whole numbers")
    struct.pack(f"<{len(values)}q", *values)  # raises for integers of more than 64 bits
    whole: list[int] = values
    return whole


def _tokens(name: str, values: Any) -> list[int]:
    if not _are(_list(name, values), int):
        raise ValueError(f"{name} must be whole numbers")
    check_tokens(name, struct.pack(f"<{len(values)}i", *values))
    tokens: list[int] = values
    return tokens


def _numbers(name: str, values: Any) -> list[float]:
    if not _are(_list(name, values), float, int):
        raise ValueError(f"{name} must be numbers")
    numbers: list[float] = values
    return numbers


def _logprobs(name: str, values: Any, *, gaps: bool = False) -> list[Any]:
    """Return the floats in a list, in which ``gaps`` allows None too."""
    if not _are(_list(name, values), float):
        found = [value for value in values if value is not None] if gaps else values
        check_logprobs(name, list(map(float, _numbers(name, found))))
        return [value if value is None else float(value) for value in values]
    check_logprobs(name, values)
    logprobs: list[Any] = values
    return logprobs
