"""The endpoints for the numbered requests of one model, which the server runs in the order of their ``seq_id``.

Each function submits one request and returns the promise of its result. If a request is sent again with the same
``seq_id``, it must be the same request, and the server answers with the same promise.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, TypeVar

from tinkex.api.call import read
from tinkex.api.futures import Promise, ReadResult, Result, json_result, read_promise, submit
from tinkex.errors import APIResponseValidationError
from tinkex.http.request import Request
from tinkex.http.response import PROTO
from tinkex.http.transport import Transport
from tinkex.types.datum import Datum
from tinkex.types.message import Message
from tinkex.types.training import (
    AdamParams,
    ForwardBackwardOutput,
    LoadWeightsResponse,
    OptimParams,
    OptimStepResponse,
    SamplingClientKind,
    SaveWeightsExternalResponse,
    SaveWeightsForSamplerResponse,
    SaveWeightsResponse,
)
from tinkex.wire import json_codec
from tinkex.wire.compression import zstd

M = TypeVar("M", bound=Message)
T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """The data and the loss of a forward or forward-backward pass."""

    data: Sequence[Datum]
    loss_fn: str
    loss_fn_config: Mapping[str, float | str] | None
    forward_only: bool


def forward_backward(
    transport: Transport,
    model_id: str,
    seq_id: int,
    batch: Batch,
    wire_format: Literal["proto", "json"],
    *,
    final: Collection[int] = (),
    compress: bool = False,
) -> Promise[ForwardBackwardOutput]:
    """Submit a forward or forward-backward pass in the given format.

    ``compress`` compresses a proto body, if zstd is available. An answer with a status in ``final`` is not
    tried again.
    """
    work = (model_id, seq_id, batch.data, batch.loss_fn, batch.loss_fn_config)
    kind = "Forward" if batch.forward_only else "ForwardBackward"
    read_output = partial(_read_forward_backward, batch)
    if wire_format == "proto":
        from tinkex.wire import proto_codec

        body = proto_codec.encode_forward_backward(*work, forward_only=batch.forward_only)
        smaller = zstd(body) if compress else None
        request = Request(
            "POST",
            "/forward_backward",
            smaller or body,
            headers={"Content-Encoding": "zstd"} if smaller else {},
            content_type=PROTO,
            final=final,
            doubt_proxies=True,
        )
        return transport.call(request, partial(read_promise, kind, read_output))
    path = "/forward" if batch.forward_only else "/forward_backward"
    payload = json_codec.encode_forward_backward(*work, forward_only=batch.forward_only)
    return submit(transport, path, payload, kind, read_output, final=final, doubt_proxies=True)


def optim_step(
    transport: Transport, model_id: str, seq_id: int, params: AdamParams | OptimParams
) -> Promise[OptimStepResponse]:
    """Submit an update of the weights with the accumulated gradients."""
    name = "adam_params" if isinstance(params, AdamParams) else "optimizer_params"
    payload = _payload("optim_step", model_id, seq_id, **{name: params.to_wire()})
    return _submit(transport, "/optim_step", payload, "OptimStep", _read_optim_step)


def save_weights(
    transport: Transport,
    model_id: str,
    seq_id: int,
    name: str,
    *,
    ttl_seconds: int | None = None,
    overwrite: bool = False,
    user_metadata: Mapping[str, str] | None = None,
) -> Promise[SaveWeightsResponse]:
    """Submit a request to save the weights and the optimizer state under ``name``."""
    payload = _payload(
        "save_weights",
        model_id,
        seq_id,
        path=name,
        ttl_seconds=ttl_seconds,
        overwrite=overwrite or None,
        user_metadata=user_metadata,
    )
    return _submit(transport, "/save_weights", payload, "SaveWeights", _reader(SaveWeightsResponse))


def load_weights(
    transport: Transport,
    model_id: str,
    seq_id: int,
    path: str,
    *,
    optimizer: bool,
    weights_access_token: str | None = None,
) -> Promise[LoadWeightsResponse]:
    """Submit a request to load the weights, and with ``optimizer`` its state, that are saved at ``path``."""
    payload = _payload(
        "load_weights",
        model_id,
        seq_id,
        path=path,
        optimizer=optimizer,
        weights_access_token=weights_access_token,
    )
    return _submit(transport, "/load_weights", payload, "LoadWeights", _reader(LoadWeightsResponse))


def save_weights_for_sampler(
    transport: Transport,
    model_id: str,
    seq_id: int,
    name: str,
    *,
    ttl_seconds: int | None = None,
    user_metadata: Mapping[str, str] | None = None,
) -> Promise[SaveWeightsForSamplerResponse]:
    """Submit a request to save the weights for samplers under ``name``."""
    payload = _payload(
        "save_weights_for_sampler",
        model_id,
        seq_id,
        path=name,
        ttl_seconds=ttl_seconds,
        user_metadata=user_metadata,
    )
    return _submit(
        transport, _FOR_SAMPLER, payload, "SaveWeightsForSampler", _reader(SaveWeightsForSamplerResponse)
    )


class OpenedSampler(NamedTuple):
    """The result of ``open_sampler``: the id of a sampling session, or the path of weights saved for one."""

    sampling_session_id: str | None
    path: str | None


def open_sampler(
    transport: Transport, model_id: str, seq_id: int, sampling_session_seq_id: int, kind: SamplingClientKind
) -> Promise[OpenedSampler]:
    """Submit a request for a sampling session on the present weights, which are saved without a name."""
    payload = _payload(
        "save_weights_for_sampler",
        model_id,
        seq_id,
        sampling_session_seq_id=sampling_session_seq_id,
        kind=None if kind == "snapshot" else kind,
    )
    return _submit(transport, _FOR_SAMPLER, payload, "SaveWeightsForSampler", _read_opened_sampler)


def save_weights_external(
    transport: Transport,
    model_id: str,
    seq_id: int,
    name: str,
    *,
    ttl_seconds: int | None = None,
    age_encryption_recipients: Sequence[str] | None = None,
) -> Promise[SaveWeightsExternalResponse]:
    """Submit a request to save the weights under ``name`` in a format for other programs."""
    payload = _payload(
        "save_weights_external",
        model_id,
        seq_id,
        path=name,
        ttl_seconds=ttl_seconds,
        age_encryption_recipients=age_encryption_recipients,
    )
    path = "/save_weights_external"
    return _submit(transport, path, payload, "SaveWeightsExternal", _reader(SaveWeightsExternalResponse))


def _payload(request_type: str, model_id: str, seq_id: int, **fields: Any) -> dict[str, Any]:
    """Return the body of a request, without the fields that are None."""
    payload: dict[str, Any] = {"type": request_type, "model_id": model_id, "seq_id": seq_id}
    payload.update((name, value) for name, value in fields.items() if value is not None)
    return payload


def _submit(
    transport: Transport, path: str, payload: Mapping[str, Any], kind: str, read_result: ReadResult[T]
) -> Promise[T]:
    return submit(transport, path, payload, kind, read_result, doubt_proxies=True)


def _reader(kind: type[M]) -> ReadResult[M]:
    """Return the reader of results that are messages of class ``kind``."""
    return partial(_read_message, kind, _TYPES[kind])


_FOR_SAMPLER = "/save_weights_for_sampler"
_TYPES: dict[type[Message], str] = {
    SaveWeightsResponse: "save_weights",
    SaveWeightsForSamplerResponse: "save_weights_for_sampler",
    LoadWeightsResponse: "load_weights",
    SaveWeightsExternalResponse: "save_weights_external",
}


def _read_message(kind: type[M], name: str, result: Result) -> M:
    return read(kind, json_result(result, name))


def _read_optim_step(result: Result) -> OptimStepResponse:
    # dataclasses-json would be too slow here, since training calls this in every step.
    metrics = json_result(result, "optim_step", has="metrics").get("metrics")
    if metrics is not None and not (isinstance(metrics, dict) and all(map(_is_float, metrics.values()))):
        raise APIResponseValidationError("the metrics of an optim_step are not numbers by name", body=metrics)
    return OptimStepResponse(metrics)


def _is_float(value: object) -> bool:
    """Return whether ``value`` is a number that fits into a float. NaN and infinities occur in training."""
    return type(value) is float or (type(value) is int and abs(value) <= sys.float_info.max)


def _read_opened_sampler(result: Result) -> OpenedSampler:
    answer = json_result(result, "save_weights_for_sampler")
    session, path = answer.get("sampling_session_id"), answer.get("path")
    opened = OpenedSampler(
        session if isinstance(session, str) and session else None,
        path if isinstance(path, str) and path else None,
    )
    if opened == (None, None):
        raise APIResponseValidationError("the server named neither a sampler nor a path", body=answer)
    return opened


def _read_forward_backward(batch: Batch, result: Result) -> ForwardBackwardOutput:
    """Read the proto or JSON result of a pass over ``batch``."""
    if result.proto is None:
        name = "forward" if batch.forward_only else "forward_backward"
        # Some servers give the result of a forward pass the type of a forward-backward pass.
        answer = result.json
        if isinstance(answer, dict) and answer.get("type") == "forward_backward":
            name = "forward_backward"
        output = json_codec.decode_forward_backward(json_result(result, name, has="loss_fn_outputs"))
    else:
        from tinkex.wire import proto_codec

        output = proto_codec.decode_forward_backward(result.proto)
    if len(output.loss_fn_outputs) != len(batch.data):
        raise APIResponseValidationError(
            f"the server's result has {len(output.loss_fn_outputs)} outputs for {len(batch.data)} datums"
        )
    for datum, tensors in zip(batch.data, output.loss_fn_outputs):
        targets, logprobs = datum.loss_fn_inputs.get("target_tokens"), tensors.get("logprobs")
        if targets is not None and logprobs is not None:
            wanted, got = math.prod(targets.shape), math.prod(logprobs.shape)
            if wanted != got:
                raise APIResponseValidationError(
                    f"the server's result has {got} logprobs for {wanted} target tokens"
                )
    return output
