"""The bodies of requests, in JSON or proto, read into the types of ``tinkex.types``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tinkex import types
from tinkex.testing.requests import Body
from tinkex.types.checks import unpack
from tinkex.wire import messages_pb2 as pb
from tinkex.wire.proto_codec import read_loss_config

_TENSOR_DTYPES: Mapping[int, types.TensorDtype] = {pb.DTYPE_FLOAT32: "float32", pb.DTYPE_INT64: "int64"}


def read_body(content_type: str, content: bytes) -> Any:
    """Return the typed body of a request; the plain content if it can be read neither as JSON nor as proto.

    A field that the types refuse stays as it was sent.
    """
    try:
        if content_type.startswith("application/x-protobuf"):
            return _from_proto(pb.ForwardBackwardRequest.FromString(content))
        if content_type.startswith("application/json"):
            document = json.loads(content)
            return _from_json(document) if isinstance(document, dict) else document
    except Exception:  # of the parsers: a test may send anything
        pass
    return content


def _from_json(document: dict[str, Any]) -> Body:
    body = Body()
    for name, value in document.items():
        if name in ("forward_backward_input", "forward_input") and isinstance(value, dict):
            body.update(_pass(_typed("work", value), forward_only=name == "forward_input"))
        else:
            body[name] = _typed(name, value)
    return body


def _pass(work: dict[str, Any], *, forward_only: bool) -> Body:
    """The fields of a pass, which stand in the body itself and, as in JSON, in a field of their own."""
    fields = Body({"loss_fn_config": None, **work})
    name = "forward_input" if forward_only else "forward_backward_input"
    return Body({**fields, "forward_only": forward_only, name: fields})


def _typed(name: str, value: Any) -> Any:
    try:
        if name == "prompt":
            return types.ModelInput.model_validate(value)
        if name == "sampling_params":
            return types.SamplingParams(**value)
        if name == "adam_params":
            return types.AdamParams.from_dict(value)
        if name == "lora_config":
            return types.LoraConfig.from_dict(value)
        if name == "work":
            return {**value, "data": [types.Datum.model_validate(each) for each in value["data"]]}
    except (ValueError, KeyError, TypeError, AttributeError):
        return value
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return Body({name: _plain(each) for name, each in value.items()})
    return [_plain(each) for each in value] if isinstance(value, list) else value


def _from_proto(message: pb.ForwardBackwardRequest) -> Body:
    work = {
        "data": [_proto_datum(each) for each in message.data],
        "loss_fn": message.loss_fn,
        "loss_fn_config": read_loss_config(message) or None,
    }
    fields = _pass(work, forward_only=message.forward_only)
    return Body(model_id=message.model_id, seq_id=message.seq_id, **fields)


def _proto_datum(datum: pb.Datum) -> types.Datum:
    tensors = {name: _proto_tensor(tensor) for name, tensor in datum.loss_fn_inputs.items()}
    model_input = types.ModelInput([_proto_chunk(chunk) for chunk in datum.model_input])
    if not datum.model_input_spans:
        return types.Datum(model_input, tensors)
    spans = [[_span(span) for span in each] for each in (datum.model_input_spans, datum.loss_fn_input_spans)]
    return types.Datum(model_input, tensors, *spans)


def _proto_chunk(chunk: pb.Chunk) -> types.ModelInputChunk:
    kind = chunk.WhichOneof("chunk")
    if kind == "encoded_text":
        return types.EncodedTextChunk(unpack(chunk.encoded_text.tokens, "i"))
    if kind == "dmel":
        return types.DmelChunk(chunk.dmel.dmel)
    image: Any = chunk.image
    expected = image.expected_tokens if image.HasField("expected_tokens") else None
    return types.ImageChunk(image.data, image.format, expected)


def _proto_tensor(tensor: pb.Tensor) -> types.TensorData:
    dtype, sparse = _TENSOR_DTYPES[tensor.dtype], tensor.sparse_csr
    if tensor.WhichOneof("encoding") != "sparse_csr":
        return types.TensorData.from_packed(tensor.dense, dtype, tensor.shape)
    indices = [unpack(part, "q") for part in (sparse.crow_indices, sparse.col_indices)]
    return types.TensorData.from_packed(sparse.values, dtype, tensor.shape, *indices)


def _span(span: pb.ProvenanceSpan) -> types.SampledProvenanceSpan | types.PromptProvenanceSpan:
    sampled = span.HasField("sampled_tokens")
    tokens: Any = span.sampled_tokens if sampled else span.prompt_tokens
    kind = types.SampledProvenanceSpan if sampled else types.PromptProvenanceSpan
    return kind(sequence_id=tokens.sequence_id, offset=tokens.offset, length=tokens.length)
