"""The answers about a server, its models and its samplers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tinkex.types.message import Message
from tinkex.types.names import ModelID
from tinkex.types.training import OptimizerConfig, optimizer_config


@dataclass(frozen=True)
class SupportedModel(Message):
    """A model that the server offers. ``max_context_length`` is in tokens."""

    model_name: str | None = None
    max_context_length: int | None = None
    trainable: bool | None = None
    sampleable: bool | None = None


@dataclass(frozen=True)
class GetServerCapabilitiesResponse(Message):
    """The models that a server offers."""

    supported_models: list[SupportedModel]


@dataclass(frozen=True)
class ModelData(Message):
    """The architecture, the name and the tokenizer of a model."""

    arch: str | None = None
    model_name: str | None = None
    tokenizer_id: str | None = None


@dataclass(frozen=True)
class GetInfoResponse(Message):
    """A model in training."""

    type: Literal["get_info"] | None = None
    model_data: ModelData = field(kw_only=True)
    model_id: ModelID = field(kw_only=True)
    optimizer_config: OptimizerConfig = optimizer_config()
    is_lora: bool | None = None
    lora_rank: int | None = None
    model_name: str | None = None


@dataclass(frozen=True)
class GetSamplerResponse(Message):
    """A sampling session, and the model from which it samples."""

    sampler_id: str
    base_model: str
    model_path: str | None = None


@dataclass(frozen=True)
class WeightsInfoResponse(Message):
    """How the model of a checkpoint was made. A new model can be made with the same values."""

    base_model: str
    optimizer_config: OptimizerConfig = optimizer_config()
    is_lora: bool = True
    lora_rank: int | None = None
    train_unembed: bool | None = None
    train_mlp: bool | None = None
    train_attn: bool | None = None
