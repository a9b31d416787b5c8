"""The bodies of requests as data: what a client of the API sends. Servers and tests use them; Tinkex needs few.

Their constructors take named arguments only. Nested data may be given as dictionaries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from tinkex.errors import InputError
from tinkex.types.answers import TelemetryEvent, read_telemetry_event
from tinkex.types.custom_loss import CustomLossGraph, CustomLossInput
from tinkex.types.data import Data
from tinkex.types.datum import Datum
from tinkex.types.names import ModelID, RequestID
from tinkex.types.training import (
    AdamOptimizerConfig,
    AdamParams,
    LoraConfig,
    LossFnType,
    OptimizerConfig,
    OptimParams,
    SamplingClientKind,
    read_optim_params,
)


class Body(Data):
    """The body of a request."""


@dataclass(frozen=True, kw_only=True)
class ClientConfigRequest(Body):
    """The body of ``POST /client/config`` and of ``POST /client/dynamic_config``."""

    sdk_version: str


@dataclass(frozen=True, kw_only=True)
class CreateSessionRequest(Body):
    """The body of ``POST /create_session``."""

    tags: list[str]
    user_metadata: dict[str, Any] | None
    sdk_version: str
    project_id: str | None = None
    display_name: str | None = None
    type: Literal["create_session"] = "create_session"


@dataclass(frozen=True, kw_only=True)
class SessionHeartbeatRequest(Body):
    """The body of ``POST /session_heartbeat``."""

    session_id: str
    type: Literal["session_heartbeat"] = "session_heartbeat"


@dataclass(frozen=True, kw_only=True)
class CreateModelRequest(Body):
    """The body of ``POST /create_model``."""

    session_id: str
    model_seq_id: int
    base_model: str
    user_metadata: dict[str, Any] | None = None
    lora_config: LoraConfig | None = None
    optimizer_config: OptimizerConfig = AdamOptimizerConfig()
    type: Literal["create_model"] = "create_model"


@dataclass(frozen=True, kw_only=True)
class GetInfoRequest(Body):
    """The body of ``POST /get_info``."""

    model_id: ModelID
    type: Literal["get_info"] = "get_info"


@dataclass(frozen=True, kw_only=True)
class UnloadModelRequest(Body):
    """The body of ``POST /unload_model``."""

    model_id: ModelID
    type: Literal["unload_model"] = "unload_model"


@dataclass(frozen=True)
class ForwardBackwardInput(Body):
    """The data and the loss of a forward or forward-backward pass."""

    data: list[Datum]
    loss_fn: LossFnType
    loss_fn_config: Mapping[str, float | str] | None = None


@dataclass(frozen=True)
class ForwardBackwardRequest(Body):
    """The body of ``POST /forward_backward``."""

    forward_backward_input: ForwardBackwardInput
    model_id: ModelID
    seq_id: int | None = None


@dataclass(frozen=True)
class ForwardRequest(Body):
    """The body of ``POST /forward``."""

    forward_input: ForwardBackwardInput
    model_id: ModelID
    seq_id: int | None = None


@dataclass(frozen=True, init=False)
class OptimStepRequest(Body):
    """The body of ``POST /optim_step``.

    The parameters are sent, and dumped, as ``adam_params`` if they are ``AdamParams``, else as ``optimizer_params``.
    The constructor takes them under any of the three names.
    """

    optim_params: AdamParams | OptimParams
    model_id: ModelID
    seq_id: int | None = None
    type: Literal["optim_step"] = "optim_step"

    def __init__(
        self,
        *,
        model_id: ModelID,
        seq_id: int | None = None,
        type: Literal["optim_step"] = "optim_step",
        **params: Any,
    ) -> None:
        given = [params.pop(name) for name in _NAMES_OF_PARAMS if name in params]
        if len(given) != 1 or params:
            raise InputError(f"OptimStepRequest takes one of {', '.join(_NAMES_OF_PARAMS)}")
        self.__dict__.update(
            optim_params=read_optim_params(given[0]), model_id=model_id, seq_id=seq_id, type=type
        )

    def model_dump(self, **options: Any) -> dict[str, Any]:
        """Return the fields by name, as they are sent. ``options`` are those of ``Data.model_dump``."""
        dumped = super().model_dump(**options)
        if "optim_params" in dumped:
            name = "adam_params" if isinstance(self.optim_params, AdamParams) else "optimizer_params"
            dumped[name] = dumped.pop("optim_params")
        return dumped


_NAMES_OF_PARAMS = ("optim_params", "adam_params", "optimizer_params")


@dataclass(frozen=True, kw_only=True)
class SaveWeightsRequest(Body):
    """The body of ``POST /save_weights``. ``path`` is the name of the state."""

    model_id: ModelID
    path: str | None = None
    seq_id: int | None = None
    ttl_seconds: int | None = None
    overwrite: bool = False
    user_metadata: dict[str, str] | None = None
    type: Literal["save_weights"] = "save_weights"


@dataclass(frozen=True, kw_only=True)
class SaveWeightsForSamplerRequest(Body):
    """The body of ``POST /save_weights_for_sampler``. Without a ``path`` the server opens a sampler at once."""

    model_id: ModelID
    path: str | None = None
    sampling_session_seq_id: int | None = None
    kind: SamplingClientKind = "snapshot"
    seq_id: int | None = None
    ttl_seconds: int | None = None
    user_metadata: dict[str, str] | None = None
    type: Literal["save_weights_for_sampler"] = "save_weights_for_sampler"


@dataclass(frozen=True, kw_only=True)
class SaveWeightsExternalRequest(Body):
    """The body of ``POST /save_weights_external``."""

    model_id: ModelID
    path: str
    seq_id: int | None = None
    ttl_seconds: int | None = None
    age_encryption_recipients: list[str] | None = None
    type: Literal["save_weights_external"] = "save_weights_external"


@dataclass(frozen=True, kw_only=True)
class LoadWeightsRequest(Body):
    """The body of ``POST /load_weights``: into ``model_id``, or into a new model of ``session_id``.

    ``optimizer`` is whether the state of the optimizer is loaded too.
    """

    model_id: ModelID | None = None
    seq_id: int | None = None
    session_id: str | None = None
    model_seq_id: int | None = None
    base_model: str | None = None
    user_metadata: dict[str, Any] | None = None
    path: str
    optimizer: bool
    optimizer_config: OptimizerConfig | None = None
    weights_access_token: str | None = field(default=None, repr=False)
    type: Literal["load_weights"] = "load_weights"


@dataclass(frozen=True, kw_only=True)
class CopyWeightsRequest(Body):
    """The body of ``POST /copy_weights``."""

    session_id: str | None = None
    model_seq_id: int | None = None
    destination_project_id: str | None = None
    source_path: str
    ttl_seconds: int | None = None
    weights_access_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class CreateCustomLossRequest(Body):
    """The body of ``POST /create_custom_loss``."""

    session_id: str
    custom_loss_seq_id: int
    name: str
    inputs: list[CustomLossInput]
    graph: CustomLossGraph
    type: Literal["create_custom_loss"] = "create_custom_loss"


@dataclass(frozen=True, kw_only=True)
class CreateSamplingSessionRequest(Body):
    """The body of ``POST /create_sampling_session``."""

    session_id: str
    sampling_session_seq_id: int
    base_model: str | None = None
    model_path: str | None = None
    type: Literal["create_sampling_session"] = "create_sampling_session"


@dataclass(frozen=True, kw_only=True)
class JoinSamplingSessionRequest(Body):
    """The body of ``POST /join_sampling_session``."""

    sampling_session_id: str
    type: Literal["join_sampling_session"] = "join_sampling_session"


@dataclass(frozen=True, kw_only=True)
class FutureRetrieveRequest(Body):
    """The body of ``POST /retrieve_future``."""

    request_id: RequestID
    allow_metadata_only: bool = False
    """Whether a large result is announced first, by its size."""


@dataclass(frozen=True, kw_only=True)
class SamplingSessionFuturesTarget(Body):
    """The samples of one client of a sampling session."""

    type: Literal["sampling_session"] = "sampling_session"
    sampling_session_id: str
    cloned_sampler_id: int = 0


@dataclass(frozen=True, kw_only=True)
class FuturesRetrieveRequest(Body):
    """The body of ``POST /retrieve_futures``, which asks for all that is done since ``prev_cursor``."""

    target: SamplingSessionFuturesTarget
    prev_cursor: int = 0
    timeout: float | None = None
    retrieved_request_ids: list[RequestID] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class GetBillingUsageRequest(Body):
    """The query of billing usage, from ``starting_on`` (included) to ``ending_before`` (excluded)."""

    starting_on: datetime
    ending_before: datetime


@dataclass(frozen=True, kw_only=True)
class GetCurrentCheckpointStorageUsageRequest(Body):
    """The query of checkpoint storage, of one project or of all."""

    project_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class TelemetrySendRequest(Body):
    """The body of ``POST /telemetry``."""

    events: list[TelemetryEvent]
    platform: str
    sdk_version: str
    session_id: str
    process_uuid: str

    def __post_init__(self) -> None:
        self.__dict__["events"] = list(map(read_telemetry_event, self.events))


@dataclass(frozen=True, kw_only=True)
class TelemetryBatch(TelemetrySendRequest, strict=False):
    """Events of one process."""
