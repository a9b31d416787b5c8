"""The answers of the API as data, apart from those that a client returns. Servers and tests use them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from tinkex.errors import InputError, RequestErrorCategory
from tinkex.types.data import Data
from tinkex.types.names import ModelID, RequestID, Severity
from tinkex.types.training import (
    ForwardBackwardOutput,
    LoadWeightsResponse,
    OptimStepResponse,
    SaveWeightsExternalResponse,
    SaveWeightsForSamplerResponse,
    SaveWeightsResponse,
    UnloadModelResponse,
)

EventType = Literal["SESSION_START", "SESSION_END", "UNHANDLED_EXCEPTION", "GENERIC_EVENT"]
"""The kind of a telemetry event."""


class Answer(Data, strict=False):
    """An answer of the API, which may have more fields on a newer server."""


@dataclass(frozen=True, kw_only=True)
class HealthResponse(Answer):
    """The answer of ``GET /healthz``."""

    status: Literal["ok"]


@dataclass(frozen=True, kw_only=True)
class AuthTokenResponse(Answer):
    """The answer of ``POST /auth/token``: a token that stands for an API key for some time."""

    jwt: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class ClientConfigResponse(Answer):
    """The answer of ``POST /client/config``: how a client is to behave. Tinkex does not obey all of these flags."""

    pjwt_auth_enabled: bool = False
    credential_default_source: str = "api_key"
    sample_dispatch_bytes_semaphore_size: int = 10_485_760
    inflight_response_bytes_semaphore_size: int = 52_428_800
    parallel_fwdbwd_chunks: bool = True
    proto_compress_fwdbwd: bool = False
    fwdbwd_max_chunk_len: int = 1024
    fwdbwd_max_chunk_bytes_count: int = 5_000_000
    fwdbwd_dispatch_bytes_semaphore_size: int = 50_000_000
    billing_exception_max_pause_duration_sec: int = 3600
    sample_no_retries: bool = False
    sample_enable_stuck_detection: bool = True
    sample_max_concurrent_requests: int = 2000
    use_pyqwest_transport: bool = True
    sample_use_retrieve_futures: bool = False
    custom_loss_server_side: bool = False
    sample_join_sampling_session: bool = False


@dataclass(frozen=True, kw_only=True)
class ClientDynamicConfigResponse(Answer):
    """The answer of ``POST /client/dynamic_config``: flags that may change while a client is in use."""

    refresh_interval_sec: int = 300
    sample_cancel_enabled: bool = False
    sample_cancel_max_batch_size: int = 64


@dataclass(frozen=True, kw_only=True)
class SessionHeartbeatResponse(Answer):
    """The answer of ``POST /session_heartbeat``."""

    type: Literal["session_heartbeat"] = "session_heartbeat"


@dataclass(frozen=True, kw_only=True)
class CreateModelResponse(Answer):
    """The result of the creation of a model."""

    model_id: ModelID
    type: Literal["create_model"] = "create_model"


@dataclass(frozen=True, kw_only=True)
class CreateSamplingSessionResponse(Answer):
    """The answer of ``POST /create_sampling_session``."""

    type: Literal["create_sampling_session"] = "create_sampling_session"
    sampling_session_id: str


@dataclass(frozen=True, kw_only=True)
class SaveWeightsForSamplerResponseInternal(Answer):
    """The result of ``POST /save_weights_for_sampler``: a path, or an open sampler."""

    path: str | None = None
    sampling_session_id: str | None = None
    type: Literal["save_weights_for_sampler"] | None = None


@dataclass(frozen=True, kw_only=True)
class SaveWeightsExternalResponseInternal(Answer):
    """The result of ``POST /save_weights_external``."""

    path: str | None = None
    size_bytes: int | None = None
    type: Literal["save_weights_external"] | None = None


@dataclass(frozen=True, kw_only=True)
class UntypedAPIFuture(Answer):
    """The promise of a result. ``sample_sequence_ids`` has an id for each sequence of a sample."""

    request_id: RequestID
    model_id: ModelID | None = None
    sample_sequence_ids: list[str] | None = None


@dataclass(frozen=True, kw_only=True)
class TryAgainResponse(Answer):
    """The answer to a poll for a result that is not there yet."""

    type: Literal["try_again"] = "try_again"
    request_id: str
    queue_state: Literal["active", "paused_capacity", "paused_rate_limit"]


@dataclass(frozen=True, kw_only=True)
class RequestFailedResponse(Answer):
    """The answer to a poll for the result of work that failed."""

    error: str
    category: RequestErrorCategory

    def __post_init__(self) -> None:
        self.__dict__["category"] = RequestErrorCategory(self.category)


FutureRetrieveResponse = (
    TryAgainResponse
    | ForwardBackwardOutput
    | OptimStepResponse
    | SaveWeightsResponse
    | LoadWeightsResponse
    | SaveWeightsForSamplerResponse
    | SaveWeightsExternalResponse
    | CreateModelResponse
    | UnloadModelResponse
    | RequestFailedResponse
)
"""The possible answers of ``POST /retrieve_future``."""


@dataclass(frozen=True, kw_only=True)
class FutureFinished(Answer):
    """Work that is done, and the size of its result in bytes."""

    state: Literal["finished"] = "finished"
    request_id: RequestID
    response_payload_uncompressed_size: int | None = None


@dataclass(frozen=True, kw_only=True)
class FutureFailed(Answer):
    """Work that failed."""

    state: Literal["failed"] = "failed"
    request_id: RequestID


FutureCompletion = FutureFinished | FutureFailed


@dataclass(frozen=True, kw_only=True)
class FuturesRetrieveResponse(Answer):
    """The answer of ``POST /retrieve_futures``."""

    completions: list[FutureCompletion]
    cursor: int

    def __post_init__(self) -> None:
        kinds: dict[object, Any] = {"finished": FutureFinished, "failed": FutureFailed}
        self.__dict__["completions"] = [_tagged(one, "state", kinds) for one in self.completions]


@dataclass(frozen=True, kw_only=True)
class TelemetryResponse(Answer):
    """The answer of ``POST /telemetry``."""

    status: Literal["accepted"]


@dataclass(frozen=True, kw_only=True)
class SessionStartEvent(Answer):
    """The telemetry event of the start of a session."""

    event: EventType
    event_id: str
    event_session_index: int
    severity: Severity
    timestamp: datetime


@dataclass(frozen=True, kw_only=True)
class SessionEndEvent(
    SessionStartEvent, dumped="duration event event_id event_session_index severity timestamp"
):
    """The telemetry event of the end of a session."""

    duration: str


@dataclass(frozen=True, kw_only=True)
class UnhandledExceptionEvent(
    SessionStartEvent,
    dumped="error_message error_type event event_id event_session_index severity timestamp traceback",
):
    """The telemetry event of an exception that ended the program, or that a client met."""

    error_message: str
    error_type: str
    traceback: str | None = None


@dataclass(frozen=True, kw_only=True)
class GenericEvent(
    SessionStartEvent, dumped="event event_id event_name event_session_index severity timestamp event_data"
):
    """Any other telemetry event."""

    event_name: str
    event_data: dict[str, Any] = field(default_factory=dict)


TelemetryEvent = SessionStartEvent | SessionEndEvent | UnhandledExceptionEvent | GenericEvent

_EVENTS: dict[object, Any] = {
    "SESSION_START": SessionStartEvent,
    "SESSION_END": SessionEndEvent,
    "UNHANDLED_EXCEPTION": UnhandledExceptionEvent,
    "GENERIC_EVENT": GenericEvent,
}


def read_telemetry_event(given: Any) -> TelemetryEvent:
    """Return ``given`` if it is an event, or the event that a dictionary describes."""
    event: TelemetryEvent = _tagged(given, "event", _EVENTS)
    return event


def _tagged(given: Any, name: str, kinds: dict[object, Any]) -> Any:
    if isinstance(given, tuple(kinds.values())):
        return given
    kind = kinds.get(given.get(name)) if isinstance(given, dict) else None
    if kind is None:
        raise InputError(f"{name} must be one of {', '.join(map(str, kinds))}, in {given!r}")
    return kind.model_validate(given)
