"""The endpoints that describe a server, a model, a sampler or a checkpoint.

Clients import this module only when it is used, because most programs do not need it and its types.
"""

from __future__ import annotations

from dataclasses import replace

from tinkex.api.call import get, post, read, segment
from tinkex.errors import APIResponseValidationError
from tinkex.http.transport import Transport
from tinkex.types.server import (
    GetInfoResponse,
    GetSamplerResponse,
    GetServerCapabilitiesResponse,
    WeightsInfoResponse,
)


def get_server_capabilities(transport: Transport) -> GetServerCapabilitiesResponse:
    """Get the models on offer. The ``model_name`` of a model may also come as ``model_id``."""
    answer = get(transport, "/get_server_capabilities")
    models = answer.get("supported_models") if isinstance(answer, dict) else None
    if not isinstance(models, list):
        raise APIResponseValidationError("the server's answer lists no supported_models", body=answer)
    named = [
        {"model_name": model.get("model_id"), **model} if isinstance(model, dict) else model
        for model in models
    ]
    return read(GetServerCapabilitiesResponse, {"supported_models": named})


def get_info(transport: Transport, model_id: str) -> GetInfoResponse:
    """Get the description of a model in training. A ``:suffix`` of its tokenizer id is dropped."""
    info = read(GetInfoResponse, post(transport, "/get_info", {"type": "get_info", "model_id": model_id}))
    tokenizer = info.model_data.tokenizer_id
    if tokenizer is None:
        return info
    return replace(info, model_data=replace(info.model_data, tokenizer_id=tokenizer.split(":")[0]))


def get_sampler(transport: Transport, sampling_session_id: str) -> GetSamplerResponse:
    """Get the base model, and the weights if any, of a sampling session."""
    return read(GetSamplerResponse, get(transport, f"/samplers/{segment(sampling_session_id)}"))


def weights_info(transport: Transport, tinker_path: str) -> WeightsInfoResponse:
    """Get the settings with which the model of a checkpoint was made."""
    return read(WeightsInfoResponse, post(transport, "/weights_info", {"tinker_path": tinker_path}))
