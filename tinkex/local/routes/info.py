"""Descriptions of the server, a model, a sampler or a checkpoint."""

from __future__ import annotations

from tinkex.local.checkpoints.path import Key
from tinkex.local.routes.routing import Route
from tinkex.local.routes.runs import lora_document
from tinkex.local.state import State
from tinkex.local.web.answer import Answer, document
from tinkex.local.web.request import Request


def get_server_capabilities(state: State, request: Request) -> Answer:
    """Describe the base models on offer."""
    models = [
        {
            "model_name": model.name,
            "max_context_length": model.max_context_length,
            "trainable": True,
            "sampleable": True,
        }
        for model in state.offered.values()
    ]
    return document({"supported_models": models})


def get_info(state: State, request: Request) -> Answer:
    """Describe a model in training."""
    model = state.model(request.fields.text("model_id"))
    base = model.base
    return document(
        {
            "type": "get_info",
            "model_id": model.id,
            "model_data": {"arch": base.arch, "model_name": base.name, "tokenizer_id": base.tokenizer_id},
            "is_lora": True,
            "lora_rank": model.training.spec.rank,
            "model_name": base.name,
        }
    )


def get_sampler(state: State, request: Request) -> Answer:
    """Name the base model and the weights from which a sampling session samples."""
    sampler = state.sampler(request.parameters["sampler_id"])
    base_model = sampler.base.name
    return document({"sampler_id": sampler.id, "base_model": base_model, "model_path": sampler.model_path})


def weights_info(state: State, request: Request) -> Answer:
    """Describe the settings with which the model of a checkpoint was made."""
    checkpoint = state.checkpoints.find(Key.parse(request.fields.text("tinker_path")))
    return document({"base_model": checkpoint.base_model, **lora_document(checkpoint.spec)})


ROUTES = (
    Route("GET", "/get_server_capabilities", get_server_capabilities),
    Route("POST", "/get_info", get_info),
    Route("GET", "/samplers/{sampler_id}", get_sampler),
    Route("POST", "/weights_info", weights_info),
)
