"""Descriptions of the server, a model, a sampler or a checkpoint."""

from __future__ import annotations

from tinkex.local.checkpoints.path import Key
from tinkex.local.model.network import BASE_MODEL, MAX_CONTEXT_LENGTH, TOKENIZER_ID
from tinkex.local.routes.routing import Route
from tinkex.local.routes.runs import lora_document
from tinkex.local.state import State
from tinkex.local.web.answer import Answer, document
from tinkex.local.web.request import Request


def get_server_capabilities(state: State, request: Request) -> Answer:
    """Describe the one model on offer."""
    model = {"model_name": BASE_MODEL, "max_context_length": MAX_CONTEXT_LENGTH}
    return document({"supported_models": [{**model, "trainable": True, "sampleable": True}]})


def get_info(state: State, request: Request) -> Answer:
    """Describe a model in training."""
    model = state.model(request.fields.text("model_id"))
    return document(
        {
            "type": "get_info",
            "model_id": model.id,
            "model_data": {"arch": "byte-mlp", "model_name": BASE_MODEL, "tokenizer_id": TOKENIZER_ID},
            "is_lora": True,
            "lora_rank": model.training.spec.rank,
            "model_name": BASE_MODEL,
        }
    )


def get_sampler(state: State, request: Request) -> Answer:
    """Name the base model and the weights from which a sampling session samples."""
    sampler = state.sampler(request.parameters["sampler_id"])
    return document({"sampler_id": sampler.id, "base_model": BASE_MODEL, "model_path": sampler.model_path})


def weights_info(state: State, request: Request) -> Answer:
    """Describe the settings with which the model of a checkpoint was made."""
    spec = state.checkpoints.find(Key.parse(request.fields.text("tinker_path"))).spec
    return document({"base_model": BASE_MODEL, **lora_document(spec)})


ROUTES = (
    Route("GET", "/get_server_capabilities", get_server_capabilities),
    Route("POST", "/get_info", get_info),
    Route("GET", "/samplers/{sampler_id}", get_sampler),
    Route("POST", "/weights_info", weights_info),
)
