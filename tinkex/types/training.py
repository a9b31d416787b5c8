"""The requests and the answers of training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tinkex.errors import InputError
from tinkex.types import console
from tinkex.types.checks import finite, integral, tag
from tinkex.types.data import Data
from tinkex.types.message import Message
from tinkex.types.tagged import tagged
from tinkex.types.tensor_data import TensorData

LossFnType = Literal[
    "cross_entropy", "importance_sampling", "ppo", "cispo", "dro", "gspo", "stable_reinforce", "custom"
]
SamplingClientKind = Literal["snapshot", "inflight"]

LossFnOutput = dict[str, TensorData]
"""The output tensors of a loss for one datum, by name."""


@dataclass(frozen=True)
class LoraConfig(Message, strict=True):
    """The rank of a LoRA adapter, the layers that have one, and the seed of its initial weights."""

    rank: int = 32
    seed: int | None = None
    train_unembed: bool = True
    train_mlp: bool = True
    train_attn: bool = True

    def __post_init__(self) -> None:
        self.__dict__["rank"] = integral("rank", self.rank, at_least=1)
        if self.seed is not None:
            self.__dict__["seed"] = integral("seed", self.seed, at_least=-(2**63))
        if not (self.train_mlp or self.train_attn or self.train_unembed):
            raise InputError("at least one of train_mlp, train_attn and train_unembed must be True")


@dataclass(frozen=True)
class AdamParams(Message, strict=True):
    """The parameters of one step of AdamW, as ``torch.optim.AdamW`` defines it, with other defaults.

    ``grad_clip_norm`` is the largest global gradient norm; 0 means no clipping. They cannot be changed;
    ``model_copy(update={"learning_rate": 1e-5})`` makes others. Raises ``InputError`` for values that are not finite
    or are out of range.
    """

    learning_rate: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-12
    weight_decay: float = 0.0
    grad_clip_norm: float = 0.0

    def __post_init__(self) -> None:
        for name, value in self._items():
            at_most = 1.0 if name in ("beta1", "beta2") else math.inf
            self.__dict__[name] = finite(name, value, at_most=at_most)


@dataclass(frozen=True, init=False, eq=False, repr=False)
class OptimParams(Data):
    """The parameters of one step of another optimizer: ``OptimParams(type="dimuon", learning_rate=1e-3)``.

    The other arguments depend on the optimizer. They are sent unchanged, and can be read as attributes. Raises
    ``InputError`` for a number that is not finite.
    """

    type: str

    def __init__(self, type: str, **fields: Any) -> None:
        for name, value in fields.items():
            if isinstance(value, float):
                fields[name] = finite(name, value, at_least=-math.inf)
        self.__dict__.update(type=type, **fields)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._items())})"

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if isinstance(other, OptimParams) else NotImplemented

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object to send."""
        return dict(self._items())

    def _items(self) -> list[tuple[str, Any]]:
        return list(self.__dict__.items())


@dataclass(frozen=True, eq=False, repr=False)
class DimuonParams(OptimParams):
    """The parameters of one step of the Dimuon optimizer."""

    type: Literal["dimuon"] = field(default="dimuon", kw_only=True)
    learning_rate: float
    grad_clip_norm: float = 0.0
    beta1: float = 0.9

    def __post_init__(self) -> None:
        tag(self, self.type)
        self.__dict__["learning_rate"] = finite("learning_rate", self.learning_rate)
        self.__dict__["grad_clip_norm"] = finite("grad_clip_norm", self.grad_clip_norm, at_least=-math.inf)
        self.__dict__["beta1"] = finite("beta1", self.beta1, at_most=1.0)


def read_optim_params(given: object) -> AdamParams | OptimParams:
    """Return ``given`` if it is parameters of an optimizer, those in a dictionary, or ``AdamParams()`` for None."""
    if isinstance(given, (AdamParams, OptimParams)):
        return given
    if given is None:
        return AdamParams()
    if not isinstance(given, Mapping):
        raise InputError(f"optim_step takes AdamParams or OptimParams, not {type(given).__name__}")
    if "type" not in given:
        return AdamParams.model_validate(given)
    return (DimuonParams if given["type"] == "dimuon" else OptimParams).model_validate(given)


@dataclass(frozen=True)
class OptimizerConfig(Message, strict=True):
    """The optimizer of a model, chosen when the model is made."""

    type: str = "adamw"


@dataclass(frozen=True)
class AdamOptimizerConfig(OptimizerConfig):
    """The optimizer AdamW, which is the default."""

    type: str = "adamw"


@dataclass(frozen=True)
class DimuonOptimizerConfig(OptimizerConfig):
    """The optimizer Dimuon."""

    type: str = "dimuon"
    version: int = 1


def optimizer_config() -> Any:
    """Return a dataclass field that holds the optimizer of a model; AdamW by default."""
    kinds = [AdamOptimizerConfig, DimuonOptimizerConfig]
    return tagged(OptimizerConfig, kinds, default=AdamOptimizerConfig())


@dataclass(frozen=True)
class ForwardBackwardOutput(Data):
    """The result of a forward pass or a forward-backward pass.

    ``loss_fn_outputs`` has the output tensors of each datum, in the order of the batch. The tensor ``logprobs``
    has the shape of the datum's ``target_tokens``. ``metrics`` have names of the form ``name:reduction``.
    """

    loss_fn_output_type: str
    loss_fn_outputs: list[LossFnOutput]
    metrics: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Do nothing: the outputs of a result are tensors already, and there are many."""

    @classmethod
    def _from_mapping(cls, fields: dict[str, Any]) -> ForwardBackwardOutput:
        outputs = [
            {name: TensorData.model_validate(tensor) for name, tensor in output.items()}
            for output in fields.get("loss_fn_outputs", [])
        ]
        return cls(**{**fields, "loss_fn_outputs": outputs})


@dataclass(frozen=True)
class OptimStepResponse(Message):
    """The result of an optimizer step."""

    metrics: Mapping[str, float] | None = None


@dataclass(frozen=True)
class SaveWeightsResponse(Message):
    """The path of a saved state, ``tinker://...``."""

    path: str
    type: Literal["save_weights"] | None = None

    def get_console_url(self) -> str:
        """The checkpoint's page in the web console of the hosted service."""
        return _checkpoint_page(self.path)


@dataclass(frozen=True)
class SaveWeightsForSamplerResponse(Message):
    """The path of saved sampler weights, ``tinker://...``."""

    path: str
    type: Literal["save_weights_for_sampler"] | None = None

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
    type: Literal["save_weights_external"] | None = None


@dataclass(frozen=True)
class LoadWeightsResponse(Message):
    """The path that was loaded, or None if the server does not repeat it."""

    path: str | None = None
    model_id: str | None = None
    """The model into which the weights were loaded, if the server says it."""
    type: Literal["load_weights"] | None = None


@dataclass(frozen=True)
class UnloadModelResponse(Message):
    """The id of the model that was unloaded, or None if the server does not repeat it."""

    model_id: str | None = None
    type: Literal["unload_model"] | None = None


def _checkpoint_page(path: str) -> str:
    from tinkex.types.rest import ParsedCheckpointTinkerPath

    parsed = ParsedCheckpointTinkerPath.from_tinker_path(path)
    return console.checkpoint(parsed.training_run_id, parsed.checkpoint_id)
