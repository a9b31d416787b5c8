"""The endpoints that describe a server, a model, a sampler or a checkpoint.

Clients import this module only when it is used, because most programs do not need it and its types.
"""

from __future__ import annotations

from tinkex.api.call import post, read
from tinkex.http.transport import Transport
from tinkex.types.server import (
    GetInfoResponse,
    GetSamplerResponse,
    GetServerCapabilitiesResponse,
    WeightsInfoResponse,
)


def get_server_capabilities(transport: Transport) -> GetServerCapabilitiesResponse:
    """Get the models on offer. The ``model_name`` of a model may also come as ``model_id``."""
    answer = transport.request("GET", "/get_server_capabilities").json()
    models = answer.get("supported_models") if isinstance(answer, dict) else None
    named = [
        {**model, "model_name": model.get("model_name") or model.get("model_id")}
        for model in models or ()
        if isinstance(model, dict)
    ]
    return read(GetServerCapabilitiesResponse, {"supported_models": named})


def get_info(transport: Transport, model_id: str) -> GetInfoResponse:
    """Get the description of a model in training. A ``:suffix`` of its tokenizer id is dropped."""
    answer = post(transport, "/get_info", {"type": "get_info", "model_id": model_id})
    data = answer.get("model_data") if isinstance(answer, dict) else None
    if isinstance(data, dict) and data.get("tokenizer_id"):
        data["tokenizer_id"] = data["tokenizer_id"].split(":")[0]
    return read(GetInfoResponse, answer)


def get_sampler(transport: Transport, sampling_session_id: str) -> GetSamplerResponse:
    """Get the base model, and the weights if any, of a sampling session."""
    return read(GetSamplerResponse, transport.request("GET", f"/samplers/{sampling_session_id}").json())


def weights_info(transport: Transport, tinker_path: str) -> WeightsInfoResponse:
    """Get the settings with which the model of a checkpoint was made."""
    return read(WeightsInfoResponse, post(transport, "/weights_info", {"tinker_path": tinker_path}))
