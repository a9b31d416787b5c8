"""The requests and the answers of training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tinkex.errors import InputError
from tinkex.types import console
from tinkex.types.checks import finite, whole
from tinkex.types.message import Message
from tinkex.types.tensor_data import TensorData

LossFnType = Literal[
    "cross_entropy", "importance_sampling", "ppo", "cispo", "dro", "gspo", "stable_reinforce", "custom"
]
SamplingClientKind = Literal["snapshot", "inflight"]

LossFnOutput = dict[str, TensorData]
"""The output tensors of a loss for one datum, by name."""


@dataclass(frozen=True)
class LoraConfig(Message):
    """The rank of a LoRA adapter, the layers that have one, and the seed of its initial weights."""

    rank: int = 32
    seed: int | None = None
    train_mlp: bool = True
    train_attn: bool = True
    train_unembed: bool = True

    def __post_init__(self) -> None:
        whole("rank", self.rank, at_least=1)
        if self.seed is not None:
            whole("seed", self.seed, at_least=-(2**63))
        if not (self.train_mlp or self.train_attn or self.train_unembed):
            raise InputError("at least one of train_mlp, train_attn and train_unembed must be True")


@dataclass
class AdamParams(Message):
    """The parameters of one step of AdamW, as ``torch.optim.AdamW`` defines it, with other defaults.

    ``grad_clip_norm`` is the largest global gradient norm; 0 means no clipping. Raises ``InputError`` for values
    that are not finite or are out of range.
    """

    learning_rate: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-12
    weight_decay: float = 0.0
    grad_clip_norm: float = 0.0

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Raise ``InputError`` if a value is out of range. Called again when the request is made."""
        for name in ("learning_rate", "eps", "weight_decay", "grad_clip_norm"):
            finite(name, getattr(self, name))
        for name in ("beta1", "beta2"):
            finite(name, getattr(self, name), at_most=1.0)


class OptimParams:
    """The parameters of one step of another optimizer: ``OptimParams(type="dimuon", learning_rate=1e-3)``.

    ``fields`` depend on the optimizer, and are sent unchanged. Raises ``InputError`` for a number that is not
    finite.
    """

    def __init__(self, type: str, **fields: Any) -> None:
        self.type = type
        self.fields = fields
        self.check()

    def __repr__(self) -> str:
        return f"OptimParams(type={self.type!r}, {', '.join(f'{k}={v!r}' for k, v in self.fields.items())})"

    def check(self) -> None:
        """Raise ``InputError`` if a number is not finite."""
        for name, value in self.fields.items():
            if isinstance(value, float):
                finite(name, value, at_least=-float("inf"))

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object to send."""
        return {"type": self.type, **self.fields}


class DimuonParams(OptimParams):
    """The parameters of one step of the Dimuon optimizer."""

    def __init__(self, learning_rate: float, grad_clip_norm: float = 0.0, beta1: float = 0.9) -> None:
        finite("learning_rate", learning_rate)
        finite("beta1", beta1, at_most=1.0)
        super().__init__("dimuon", learning_rate=learning_rate, grad_clip_norm=grad_clip_norm, beta1=beta1)


@dataclass(frozen=True)
class OptimizerConfig(Message):
    """The optimizer of a model, chosen when the model is made."""

    type: str = "adamw"


@dataclass(frozen=True)
class AdamOptimizerConfig(OptimizerConfig):
    """The optimizer AdamW, which is the default."""


@dataclass(frozen=True)
class DimuonOptimizerConfig(OptimizerConfig):
    """The optimizer Dimuon."""

    type: str = "dimuon"
    version: int = 1


@dataclass(frozen=True)
class ForwardBackwardOutput:
    """The result of a forward pass or a forward-backward pass.

    ``loss_fn_outputs`` has the output tensors of each datum, in the order of the batch. The tensor ``logprobs``
    has the shape of the datum's ``target_tokens``. ``metrics`` have names of the form ``name:reduction``.
    """

    loss_fn_output_type: str
    loss_fn_outputs: list[LossFnOutput]
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class OptimStepResponse(Message):
    """The result of an optimizer step."""

    metrics: Mapping[str, float] | None = None


@dataclass(frozen=True)
class SaveWeightsResponse(Message):
    """The path of a saved state, ``tinker://...``."""

    path: str

    def get_console_url(self) -> str:
        """The checkpoint's page in the web console of the hosted service."""
        return _checkpoint_page(self.path)


@dataclass(frozen=True)
class SaveWeightsForSamplerResponse(Message):
    """The path of saved sampler weights, ``tinker://...``."""

    path: str

    def get_console_url(self) -> str:
        """The checkpoint's page in the web console of the hosted service."""
        return _checkpoint_page(self.path)

    def get_playground_url(self) -> str:
        """Return the page of the hosted service on which a person can talk with these weights."""
        return console.playground(self.path)


@dataclass(frozen=True)
class SaveWeightsExternalResponse(Message):
    """The path of saved external weights, ``tinker://...``."""

    path: str


@dataclass(frozen=True)
class LoadWeightsResponse(Message):
    """The path that was loaded, or None if the server does not repeat it."""

    path: str | None = None


@dataclass(frozen=True)
class UnloadModelResponse(Message):
    """The id of the model that was unloaded, or None if the server does not repeat it."""

    model_id: str | None = None


def _checkpoint_page(path: str) -> str:
    from tinkex.types.rest import ParsedCheckpointTinkerPath

    parsed = ParsedCheckpointTinkerPath.from_tinker_path(path)
    return console.checkpoint(parsed.training_run_id, parsed.checkpoint_id)
