"""The public data of the API, as plain dataclasses. numpy and torch are used only if the caller uses them."""

from importlib import import_module
from typing import TYPE_CHECKING

from tinkex.errors import RequestErrorCategory
from tinkex.types.datum import Datum, LossFnInputs
from tinkex.types.dmel import DmelChunk
from tinkex.types.model_input import (
    EncodedTextChunk,
    ImageAssetPointerChunk,
    ImageChunk,
    ModelInput,
    ModelInputChunk,
)
from tinkex.types.names import ModelID, RequestID, Severity
from tinkex.types.provenance import PromptProvenanceSpan, ProvenanceSpans, SampledProvenanceSpan
from tinkex.types.retry import RetryConfig
from tinkex.types.sampling import (
    PromptAltTokens,
    SampledSequence,
    SampleResponse,
    SamplingParams,
    StopReason,
    TopkLogprobs,
)
from tinkex.types.tensor_data import TensorData, TensorDtype
from tinkex.types.training import (
    AdamOptimizerConfig,
    AdamParams,
    DimuonOptimizerConfig,
    DimuonParams,
    ForwardBackwardOutput,
    LoadWeightsResponse,
    LoraConfig,
    LossFnOutput,
    LossFnType,
    OptimizerConfig,
    OptimParams,
    OptimStepResponse,
    SamplingClientKind,
    SaveWeightsExternalResponse,
    SaveWeightsForSamplerResponse,
    SaveWeightsResponse,
    UnloadModelResponse,
)

if TYPE_CHECKING:
    from tinkex.types.admin import (
        AuditEventType,
        AuditLogEntry,
        AuditLogResponse,
        BillingEventInfo,
        BillingUsageEvent,
        BillingUsageResponse,
        BillingUsageSession,
        CheckpointBillingEvent,
        CurrentCheckpointStorageUsageItem,
        CurrentCheckpointStorageUsageResponse,
        SamplingPrefillBillingEvent,
        SamplingSampleBillingEvent,
        StorageBillingEvent,
        TrainingBillingEvent,
    )
    from tinkex.types.custom_loss import (
        CustomLossGraph,
        CustomLossInput,
        CustomLossInputRank,
        CustomLossNode,
    )
    from tinkex.types.rest import (
        Checkpoint,
        CheckpointsListResponse,
        CheckpointType,
        CopyWeightsResponse,
        Cursor,
        ExternalWeightsUrlsResponse,
        GetSessionResponse,
        ListSessionsResponse,
        ParsedCheckpointTinkerPath,
        TrainingRun,
        TrainingRunsResponse,
        WhoamiResponse,
    )
    from tinkex.types.server import (
        GetInfoResponse,
        GetSamplerResponse,
        GetServerCapabilitiesResponse,
        ModelData,
        SupportedModel,
        WeightsInfoResponse,
    )
    from tinkex.types.session_search import (
        AccessibleSearchOwner,
        ActiveSessionStatusQuery,
        CancelledSessionStatusQuery,
        ClientFinishedSessionStatusQuery,
        ClientSessionFinished,
        ClientSessionFinishErrored,
        ClientSessionFinishInterrupted,
        ClientSessionFinishReason,
        ClientSessionFinishReasonType,
        ClientSessionFinishSuccess,
        FailedSessionStatusQuery,
        OwnSearchOwner,
        SearchOwner,
        SessionActive,
        SessionCancelled,
        SessionFailed,
        SessionFailedReason,
        SessionFailedRequestReason,
        SessionFailedSamplingSessionReason,
        SessionFailedTrainingRunReason,
        SessionSearchCursor,
        SessionSearchRequest,
        SessionSearchResponse,
        SessionStatus,
        SessionStatusQuery,
        SessionStatusReason,
        SessionSummary,
        UserSearchOwner,
    )

__all__ = [
    "AccessibleSearchOwner",
    "ActiveSessionStatusQuery",
    "AdamOptimizerConfig",
    "AdamParams",
    "AuditEventType",
    "AuditLogEntry",
    "AuditLogResponse",
    "BillingEventInfo",
    "BillingUsageEvent",
    "BillingUsageResponse",
    "BillingUsageSession",
    "CancelledSessionStatusQuery",
    "Checkpoint",
    "CheckpointBillingEvent",
    "CheckpointType",
    "CheckpointsListResponse",
    "ClientFinishedSessionStatusQuery",
    "ClientSessionFinishErrored",
    "ClientSessionFinishInterrupted",
    "ClientSessionFinishReason",
    "ClientSessionFinishReasonType",
    "ClientSessionFinishSuccess",
    "ClientSessionFinished",
    "CopyWeightsResponse",
    "CurrentCheckpointStorageUsageItem",
    "CurrentCheckpointStorageUsageResponse",
    "Cursor",
    "CustomLossGraph",
    "CustomLossInput",
    "CustomLossInputRank",
    "CustomLossNode",
    "Datum",
    "DimuonOptimizerConfig",
    "DimuonParams",
    "DmelChunk",
    "EncodedTextChunk",
    "ExternalWeightsUrlsResponse",
    "FailedSessionStatusQuery",
    "ForwardBackwardOutput",
    "GetInfoResponse",
    "GetSamplerResponse",
    "GetServerCapabilitiesResponse",
    "GetSessionResponse",
    "ImageAssetPointerChunk",
    "ImageChunk",
    "ListSessionsResponse",
    "LoadWeightsResponse",
    "LoraConfig",
    "LossFnInputs",
    "LossFnOutput",
    "LossFnType",
    "ModelData",
    "ModelID",
    "ModelInput",
    "ModelInputChunk",
    "OptimParams",
    "OptimStepResponse",
    "OptimizerConfig",
    "OwnSearchOwner",
    "ParsedCheckpointTinkerPath",
    "PromptAltTokens",
    "PromptProvenanceSpan",
    "ProvenanceSpans",
    "RequestErrorCategory",
    "RequestID",
    "RetryConfig",
    "SampleResponse",
    "SampledProvenanceSpan",
    "SampledSequence",
    "SamplingClientKind",
    "SamplingParams",
    "SamplingPrefillBillingEvent",
    "SamplingSampleBillingEvent",
    "SaveWeightsExternalResponse",
    "SaveWeightsForSamplerResponse",
    "SaveWeightsResponse",
    "SearchOwner",
    "SessionActive",
    "SessionCancelled",
    "SessionFailed",
    "SessionFailedReason",
    "SessionFailedRequestReason",
    "SessionFailedSamplingSessionReason",
    "SessionFailedTrainingRunReason",
    "SessionSearchCursor",
    "SessionSearchRequest",
    "SessionSearchResponse",
    "SessionStatus",
    "SessionStatusQuery",
    "SessionStatusReason",
    "SessionSummary",
    "Severity",
    "StopReason",
    "StorageBillingEvent",
    "SupportedModel",
    "TensorData",
    "TensorDtype",
    "TopkLogprobs",
    "TrainingBillingEvent",
    "TrainingRun",
    "TrainingRunsResponse",
    "UnloadModelResponse",
    "UserSearchOwner",
    "WeightsInfoResponse",
    "WhoamiResponse",
]


if not TYPE_CHECKING:  # a type checker reads the imports above instead, and so refuses any other name

    def __getattr__(name: str) -> object:
        # These modules are imported when one of their names is first used. A script that trains and samples
        # does not need them, and they would take a tenth of the time to import the package.
        if name in __all__:
            for module in ("rest", "server", "admin", "session_search", "custom_loss"):
                found = getattr(import_module(f"{__name__}.{module}"), name, None)
                if found is not None:
                    globals()[name] = found
                    return found
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
