"""Which names each module of the official SDK 0.38.0 has, as far as Tinkex has them too, and where they are.

The conformance test holds the table equal to the official package, and says what Tinkex has not, and why. A few names
are those of earlier releases, or of no ``__all__``.
"""

from __future__ import annotations

SOURCES = ("tinkex.compat.official", "tinkex.types", "tinkex")
"""The modules of Tinkex in which the names of an official module are looked up, one after the other."""

WHERE_FROM: dict[str, tuple[str, ...]] = {
    "tinker._version": ("tinkex.compat.official",),
    "tinker.auth": ("tinkex.auth", "tinkex.compat.credentials", "tinkex"),
    "tinker.proto.tinker_public_pb2": ("tinkex.wire.messages_pb2",),
}
"""Official modules whose names are looked up in other modules of Tinkex."""

COMMAND = "tinker.cli.__main__"
"""The module whose program is the command line."""

RENAMED: dict[str, str] = {
    "tinker.cli.commands.auth.cli": "tinkex.cli.auth.auth",
    "tinker.cli.commands.billing.cli": "tinkex.cli.billing.billing",
    "tinker.cli.commands.checkpoint.cli": "tinkex.cli.checkpoint.checkpoint",
    "tinker.cli.commands.model.cli": "tinkex.cli.model.model",
    "tinker.cli.commands.run.cli": "tinkex.cli.run.run",
    "tinker.cli.commands.session.cli": "tinkex.cli.session.session",
    "tinker.cli.commands.version.cli": "tinkex.cli.version.version",
    "tinker.lib.public_interfaces.training_client.CustomLossFnV1": "tinkex.losses.custom.CustomLossFn",
    "tinker.cli.__main__.cli": "tinkex.cli.main",
    "tinker.cli.__main__.main": "tinkex.cli.main",
    "tinker.cli.__main__.main_cli": "tinkex.cli.app.cli",
    "tinker.types.topk_logprobs.MASK_LOGPROB": "tinkex.types.sampling.EMPTY_LOGPROB",
}
"""Official names that Tinkex has under another name."""

MODULES: dict[str, str] = {
    "tinker": (
        "APIConnectionError APIError APIFuture APIResponse APIResponseValidationError APIStatusError "
        "APITimeoutError AdamOptimizerConfig AdamParams AdminClient AsyncAPIResponse "
        "AuthenticationError BackcompatSamplingClientFuture BackcompatTrainingClientFuture "
        "BadRequestError BillingError Checkpoint CheckpointType ConflictError Datum "
        "DimuonOptimizerConfig DimuonParams DmelChunk EncodedTextChunk ExperimentalWarning "
        "ForwardBackwardOutput InternalServerError LoraConfig LossHandle ModelID ModelInput "
        "ModelInputChunk NotFoundError OptimParams OptimStepRequest OptimStepResponse "
        "ParsedCheckpointTinkerPath PerDatumLossFn PermissionDeniedError PromptProvenanceSpan "
        "RateLimitError RequestFailedError RequestOptions RestClient SampleRequest SampleResponse "
        "SampledProvenanceSpan SampledSequence SamplingClient SamplingParams ServiceClient StopReason "
        "TensorData TensorDtype Timeout TinkerError TrainingClient TrainingRun "
        "UnprocessableEntityError __title__ __version__"
    ),
    "tinker._exceptions": (
        "APIConnectionError APIError APIResponseValidationError APIStatusError APITimeoutError "
        "AuthenticationError BadRequestError BillingError ConflictError InternalServerError "
        "NotFoundError PermissionDeniedError RateLimitError RequestFailedError TinkerError "
        "UnprocessableEntityError"
    ),
    "tinker._response": "APIResponse AsyncAPIResponse",
    "tinker._types": "RequestOptions Timeout",
    "tinker._version": "__title__ __version__",
    "tinker.auth": (
        "ApiKeyAuthProvider TinkerError get_tinker_token raise_if_tinker_not_accessible "
        "resolve_auth_provider tinker_has_credentials"
    ),
    "tinker.cli": "",
    "tinker.cli.__main__": "cli main main_cli",
    "tinker.cli.auth_api": "",
    "tinker.cli.client": "",
    "tinker.cli.commands": "",
    "tinker.cli.commands.auth": "cli",
    "tinker.cli.commands.billing": "cli",
    "tinker.cli.commands.checkpoint": "cli",
    "tinker.cli.commands.model": "cli",
    "tinker.cli.commands.run": "cli",
    "tinker.cli.commands.session": "cli",
    "tinker.cli.commands.version": "cli",
    "tinker.cli.context": "",
    "tinker.cli.exceptions": "",
    "tinker.cli.lazy_group": "",
    "tinker.cli.login": "",
    "tinker.cli.output": "",
    "tinker.lib": "",
    "tinker.lib.api_future_impl": (
        "APIFuture ClientConnectionPoolType FutureFinished FutureRetrieveRequest QueueState "
        "QueueStateObserver RequestErrorCategory RequestFailedError RetryableException"
    ),
    "tinker.lib.async_tinker_provider": "AwaitableConcurrentFuture ClientConnectionPoolType",
    "tinker.lib.backcompat_concurrent_future": "APIFuture",
    "tinker.lib.base_url": "DEFAULT_BASE_URL resolve_base_url",
    "tinker.lib.chunked_fwdbwd_helpers": "ForwardBackwardOutput LossFnOutput",
    "tinker.lib.client_connection_pool_type": "ClientConnectionPoolType",
    "tinker.lib.console_urls": (
        "api_key_console_url checkpoint_console_url checkpoint_playground_url new_api_key_console_url "
        "session_console_url sessions_console_url training_run_console_url"
    ),
    "tinker.lib.credentials": "default_credentials_path",
    "tinker.lib.experimental": "ExperimentalWarning",
    "tinker.lib.internal_client_holder": (
        "APIConnectionError APIStatusError AwaitableConcurrentFuture ClientConnectionPoolType "
        "TinkerError default_credentials_path resolve_base_url"
    ),
    "tinker.lib.public_interfaces": (
        "APIFuture AdminClient AwaitableConcurrentFuture BackcompatSamplingClientFuture "
        "BackcompatTrainingClientFuture LossHandle PerDatumLossFn RestClient SamplingClient "
        "ServiceClient TrainingClient"
    ),
    "tinker.lib.public_interfaces.admin_client": (
        "APIFuture AdminClient AwaitableConcurrentFuture ClientConnectionPoolType"
    ),
    "tinker.lib.public_interfaces.api_future": "APIFuture AwaitableConcurrentFuture",
    "tinker.lib.public_interfaces.backcompat_client_future": (
        "APIFuture AwaitableConcurrentFuture BackcompatClientFuture"
    ),
    "tinker.lib.public_interfaces.backcompat_sampling_client_future": (
        "APIFuture BackcompatClientFuture BackcompatSamplingClientFuture SamplingClient"
    ),
    "tinker.lib.public_interfaces.backcompat_training_client_future": (
        "APIFuture BackcompatClientFuture BackcompatSamplingClientFuture "
        "BackcompatTrainingClientFuture SamplingClient TrainingClient"
    ),
    "tinker.lib.public_interfaces.custom_loss": "LossHandle PerDatumLossFn",
    "tinker.lib.public_interfaces.rest_client": (
        "APIFuture AwaitableConcurrentFuture ClientConnectionPoolType ExperimentalWarning RestClient"
    ),
    "tinker.lib.public_interfaces.rest_client_common": "",
    "tinker.lib.public_interfaces.sampling_client": (
        "APIFuture AwaitableConcurrentFuture ClientConnectionPoolType QueueState QueueStateObserver "
        "RetryConfig SamplingClient"
    ),
    "tinker.lib.public_interfaces.service_client": (
        "APIFuture AwaitableConcurrentFuture ClientConnectionPoolType LossHandle PerDatumLossFn "
        "RetryConfig ServiceClient session_console_url sessions_console_url"
    ),
    "tinker.lib.public_interfaces.training_client": (
        "APIFuture AwaitableConcurrentFuture BackcompatSamplingClientFuture ClientConnectionPoolType "
        "CustomLossFnV1 LossHandle RetryConfig SamplingClient TrainingClient training_run_console_url"
    ),
    "tinker.lib.queue_state_logger": "QueueState QueueStateObserver",
    "tinker.lib.retry_handler": "RetryConfig RetryableException is_retryable_status_code",
    "tinker.lib.retryable_exception": "RetryableException",
    "tinker.lib.sdk_method": "",
    "tinker.lib.session_futures_poller": (
        "APIStatusError ClientConnectionPoolType FutureCompletion FuturesRetrieveRequest "
        "SamplingSessionFuturesTarget TinkerError"
    ),
    "tinker.lib.sync_only": "APIFuture",
    "tinker.lib.telemetry": (
        "APIError ClientConnectionPoolType GenericEvent RequestErrorCategory RequestFailedError "
        "SessionEndEvent SessionStartEvent Severity TelemetryBatch TelemetryEvent TelemetryResponse "
        "TelemetrySendRequest UnhandledExceptionEvent"
    ),
    "tinker.lib.telemetry_provider": "",
    "tinker.proto": "",
    "tinker.proto.request_conv": (
        "DmelChunk EncodedTextChunk ForwardBackwardRequest ImageChunk ModelInputChunk "
        "PromptProvenanceSpan SampledProvenanceSpan TensorData"
    ),
    "tinker.proto.response_conv": (
        "ForwardBackwardOutput PromptAltTokens SampleResponse SampledSequence StopReason TensorData "
        "TensorDtype TopkLogprobs"
    ),
    "tinker.proto.tinker_public_pb2": (
        "ArrayRecord BatchedTensor Chunk DESCRIPTOR DTYPE_BFLOAT16 DTYPE_FLOAT32 DTYPE_INT32 "
        "DTYPE_INT64 DTYPE_UNSPECIFIED DType Datum DmelChunk EncodedTextChunk ForwardBackwardOutput "
        "ForwardBackwardRequest ImageChunk ImageDimensions LossConfigValue PromptAltTokens "
        "PromptProvenanceSpan ProvenanceSpan STOP_REASON_LENGTH STOP_REASON_STOP SampleResponse "
        "SampledProvenanceSpan SampledSequence SamplingParams SparseCsr StopReason StopStrings "
        "StopTokens Tensor TopkLogprobs"
    ),
    "tinker.resources": "",
    "tinker.resources.futures": "",
    "tinker.resources.models": "",
    "tinker.resources.sampling": "",
    "tinker.resources.service": "",
    "tinker.resources.telemetry": "",
    "tinker.resources.training": "",
    "tinker.resources.weights": "",
    "tinker.types": (
        "AccessibleSearchOwner ActiveSessionStatusQuery AdamOptimizerConfig AdamParams AuditLogEntry "
        "AuditLogResponse AuthTokenResponse BillingEventInfo BillingUsageEvent BillingUsageResponse "
        "BillingUsageSession CancelledSessionStatusQuery Checkpoint CheckpointArchiveUrlResponse "
        "CheckpointBillingEvent CheckpointType CheckpointsListResponse ClientConfigRequest "
        "ClientConfigResponse ClientDynamicConfigResponse ClientFinishedSessionStatusQuery "
        "ClientSessionFinishErrored ClientSessionFinishInterrupted ClientSessionFinishReason "
        "ClientSessionFinishReasonType ClientSessionFinishSuccess ClientSessionFinished "
        "CopyWeightsRequest CopyWeightsResponse CreateCustomLossRequest CreateCustomLossResponse "
        "CreateModelRequest CreateModelResponse CreateSamplingSessionRequest "
        "CreateSamplingSessionResponse CreateSessionRequest CreateSessionResponse "
        "CurrentCheckpointStorageUsageItem CurrentCheckpointStorageUsageResponse Cursor "
        "CustomLossGraph CustomLossInput CustomLossInputRank CustomLossNode Datum "
        "DimuonOptimizerConfig DimuonParams DmelChunk EncodedTextChunk EventType "
        "ExternalWeightsUrlsResponse FailedSessionStatusQuery ForwardBackwardInput "
        "ForwardBackwardOutput ForwardBackwardRequest ForwardRequest FutureCompletion FutureFailed "
        "FutureFinished FutureRetrieveRequest FutureRetrieveResponse FuturesRetrieveRequest "
        "FuturesRetrieveResponse GetBillingUsageRequest GetCurrentCheckpointStorageUsageRequest "
        "GetInfoRequest GetInfoResponse GetSamplerResponse GetServerCapabilitiesResponse "
        "GetSessionResponse HealthResponse ImageAssetPointerChunk ImageChunk "
        "JoinSamplingSessionRequest JoinSamplingSessionResponse ListSessionsResponse "
        "LoadWeightsRequest LoadWeightsResponse LoraConfig LossFnInputs LossFnOutput LossFnType "
        "ModelData ModelID ModelInput ModelInputChunk OptimParams OptimStepRequest OptimStepResponse "
        "OptimizerConfig OwnSearchOwner ParsedCheckpointTinkerPath PromptAltTokens "
        "PromptProvenanceSpan ProvenanceSpans RequestErrorCategory RequestFailedResponse RequestID "
        "SampleRequest SampleResponse SampledProvenanceSpan SampledSequence SamplingClientKind "
        "SamplingParams SamplingPrefillBillingEvent SamplingSampleBillingEvent "
        "SamplingSessionFuturesTarget SaveWeightsExternalRequest SaveWeightsExternalResponse "
        "SaveWeightsExternalResponseInternal SaveWeightsForSamplerRequest "
        "SaveWeightsForSamplerResponse SaveWeightsForSamplerResponseInternal SaveWeightsRequest "
        "SaveWeightsResponse SearchOwner SessionActive SessionCancelled SessionEndEvent SessionFailed "
        "SessionFailedReason SessionFailedRequestReason SessionFailedSamplingSessionReason "
        "SessionFailedTrainingRunReason SessionHeartbeatRequest SessionHeartbeatResponse "
        "SessionSearchCursor SessionSearchRequest SessionSearchResponse SessionStartEvent "
        "SessionStatus SessionStatusQuery SessionSummary Severity StopReason StorageBillingEvent "
        "SupportedModel TelemetryBatch TelemetryEvent TelemetryResponse TelemetrySendRequest "
        "TensorData TensorDtype TrainingBillingEvent TrainingRun TrainingRunsResponse "
        "UnhandledExceptionEvent UnloadModelRequest UnloadModelResponse UntypedAPIFuture "
        "UserSearchOwner WeightsInfoResponse WhoamiResponse"
    ),
    "tinker.types.audit_log_entry": "AuditLogEntry",
    "tinker.types.audit_log_response": "AuditLogEntry AuditLogResponse",
    "tinker.types.auth_token_response": "AuthTokenResponse",
    "tinker.types.billing_usage_request": "GetBillingUsageRequest",
    "tinker.types.billing_usage_response": (
        "BillingEventInfo BillingUsageEvent BillingUsageResponse BillingUsageSession "
        "CheckpointBillingEvent SamplingPrefillBillingEvent SamplingSampleBillingEvent "
        "StorageBillingEvent TrainingBillingEvent"
    ),
    "tinker.types.checkpoint": "Checkpoint CheckpointType ParsedCheckpointTinkerPath",
    "tinker.types.checkpoint_archive_url_response": "CheckpointArchiveUrlResponse",
    "tinker.types.checkpoints_list_response": "Checkpoint CheckpointsListResponse Cursor",
    "tinker.types.client_config_request": "ClientConfigRequest",
    "tinker.types.client_config_response": "ClientConfigResponse",
    "tinker.types.client_dynamic_config_response": "ClientDynamicConfigResponse",
    "tinker.types.copy_weights_request": "CopyWeightsRequest",
    "tinker.types.copy_weights_response": "CopyWeightsResponse",
    "tinker.types.create_custom_loss_request": "CreateCustomLossRequest CustomLossGraph CustomLossInput",
    "tinker.types.create_custom_loss_response": "CreateCustomLossResponse",
    "tinker.types.create_model_request": "AdamOptimizerConfig CreateModelRequest LoraConfig OptimizerConfig",
    "tinker.types.create_model_response": "CreateModelResponse ModelID",
    "tinker.types.create_sampling_session_request": "CreateSamplingSessionRequest",
    "tinker.types.create_sampling_session_response": "CreateSamplingSessionResponse",
    "tinker.types.create_session_request": "CreateSessionRequest",
    "tinker.types.create_session_response": "CreateSessionResponse",
    "tinker.types.current_checkpoint_storage_usage_request": "GetCurrentCheckpointStorageUsageRequest",
    "tinker.types.current_checkpoint_storage_usage_response": (
        "CurrentCheckpointStorageUsageItem CurrentCheckpointStorageUsageResponse"
    ),
    "tinker.types.cursor": "Cursor",
    "tinker.types.custom_loss_graph": "CustomLossGraph CustomLossNode",
    "tinker.types.custom_loss_input": "CustomLossInput CustomLossInputRank",
    "tinker.types.datum": (
        "Datum LossFnInputs ModelInput PromptProvenanceSpan ProvenanceSpans SampledProvenanceSpan TensorData"
    ),
    "tinker.types.dmel_chunk": "DmelChunk",
    "tinker.types.encoded_text_chunk": "EncodedTextChunk",
    "tinker.types.event_type": "EventType",
    "tinker.types.external_weights_urls_response": "ExternalWeightsUrlsResponse",
    "tinker.types.forward_backward_input": "Datum ForwardBackwardInput LossFnType",
    "tinker.types.forward_backward_output": "ForwardBackwardOutput LossFnOutput",
    "tinker.types.forward_backward_request": "ForwardBackwardInput ForwardBackwardRequest ModelID",
    "tinker.types.forward_request": "ForwardBackwardInput ForwardRequest ModelID",
    "tinker.types.future_completion": "FutureCompletion FutureFailed FutureFinished RequestID",
    "tinker.types.future_retrieve_request": "FutureRetrieveRequest RequestID",
    "tinker.types.future_retrieve_response": (
        "CreateModelResponse ForwardBackwardOutput FutureRetrieveResponse LoadWeightsResponse "
        "OptimStepResponse RequestFailedResponse SaveWeightsExternalResponse "
        "SaveWeightsForSamplerResponse SaveWeightsResponse TryAgainResponse UnloadModelResponse"
    ),
    "tinker.types.futures_retrieve_request": "FuturesRetrieveRequest SamplingSessionFuturesTarget",
    "tinker.types.futures_retrieve_response": "FutureCompletion FuturesRetrieveResponse",
    "tinker.types.generic_event": "EventType GenericEvent Severity",
    "tinker.types.get_info_request": "GetInfoRequest ModelID",
    "tinker.types.get_info_response": "GetInfoResponse ModelData",
    "tinker.types.get_sampler_response": "GetSamplerResponse",
    "tinker.types.get_server_capabilities_response": "GetServerCapabilitiesResponse SupportedModel",
    "tinker.types.get_session_response": "GetSessionResponse ModelID",
    "tinker.types.health_response": "HealthResponse",
    "tinker.types.image_asset_pointer_chunk": "ImageAssetPointerChunk",
    "tinker.types.image_chunk": "ImageChunk",
    "tinker.types.join_sampling_session_request": "JoinSamplingSessionRequest",
    "tinker.types.join_sampling_session_response": "JoinSamplingSessionResponse",
    "tinker.types.list_sessions_response": "ListSessionsResponse",
    "tinker.types.load_weights_request": "LoadWeightsRequest ModelID OptimizerConfig",
    "tinker.types.load_weights_response": "LoadWeightsResponse",
    "tinker.types.lora_config": "LoraConfig",
    "tinker.types.loss_fn_inputs": "LossFnInputs TensorData",
    "tinker.types.loss_fn_output": "LossFnOutput TensorData",
    "tinker.types.loss_fn_type": "LossFnType",
    "tinker.types.model_id": "ModelID",
    "tinker.types.model_input": "ModelInput",
    "tinker.types.model_input_chunk": (
        "DmelChunk EncodedTextChunk ImageAssetPointerChunk ImageChunk ModelInputChunk"
    ),
    "tinker.types.optim_step_request": "AdamParams ModelID OptimParams OptimStepRequest",
    "tinker.types.optim_step_response": "OptimStepResponse",
    "tinker.types.optimizer": (
        "AdamOptimizerConfig AdamParams DimuonOptimizerConfig DimuonParams OptimParams OptimizerConfig"
    ),
    "tinker.types.prompt_alt_tokens": "PromptAltTokens TensorData",
    "tinker.types.provenance_spans": "PromptProvenanceSpan ProvenanceSpans SampledProvenanceSpan",
    "tinker.types.request_error_category": "RequestErrorCategory",
    "tinker.types.request_failed_response": "RequestErrorCategory RequestFailedResponse",
    "tinker.types.request_id": "RequestID",
    "tinker.types.sample_request": "ModelInput SampleRequest SamplingParams",
    "tinker.types.sample_response": "PromptAltTokens SampleResponse SampledSequence TensorData TopkLogprobs",
    "tinker.types.sampled_sequence": "SampledSequence StopReason TopkLogprobs",
    "tinker.types.sampling_client_kind": "SamplingClientKind",
    "tinker.types.sampling_params": "SamplingParams",
    "tinker.types.save_weights_external_request": "ModelID SaveWeightsExternalRequest",
    "tinker.types.save_weights_external_response": (
        "SaveWeightsExternalResponse SaveWeightsExternalResponseInternal"
    ),
    "tinker.types.save_weights_for_sampler_request": (
        "ModelID SamplingClientKind SaveWeightsForSamplerRequest"
    ),
    "tinker.types.save_weights_for_sampler_response": (
        "SaveWeightsForSamplerResponse SaveWeightsForSamplerResponseInternal"
    ),
    "tinker.types.save_weights_request": "ModelID SaveWeightsRequest",
    "tinker.types.save_weights_response": (
        "ParsedCheckpointTinkerPath SaveWeightsResponse checkpoint_console_url"
    ),
    "tinker.types.search_owner": "AccessibleSearchOwner OwnSearchOwner SearchOwner UserSearchOwner",
    "tinker.types.session_end_event": "EventType SessionEndEvent Severity",
    "tinker.types.session_heartbeat_request": "SessionHeartbeatRequest",
    "tinker.types.session_heartbeat_response": "SessionHeartbeatResponse",
    "tinker.types.session_search_cursor": "SessionSearchCursor",
    "tinker.types.session_search_request": (
        "OwnSearchOwner SearchOwner SessionSearchCursor SessionSearchRequest SessionStatusQuery"
    ),
    "tinker.types.session_search_response": "SessionSearchCursor SessionSearchResponse SessionSummary",
    "tinker.types.session_start_event": "EventType SessionStartEvent Severity",
    "tinker.types.session_status": (
        "ClientSessionFinishErrored ClientSessionFinishInterrupted ClientSessionFinishReason "
        "ClientSessionFinishSuccess ClientSessionFinished SessionActive SessionCancelled "
        "SessionFailed SessionFailedReason SessionFailedRequestReason "
        "SessionFailedSamplingSessionReason SessionFailedTrainingRunReason SessionStatus"
    ),
    "tinker.types.session_status_query": (
        "ActiveSessionStatusQuery CancelledSessionStatusQuery ClientFinishedSessionStatusQuery "
        "ClientSessionFinishReasonType FailedSessionStatusQuery SessionStatusQuery"
    ),
    "tinker.types.session_summary": "SessionStatus SessionSummary",
    "tinker.types.severity": "Severity",
    "tinker.types.shared": "UntypedAPIFuture",
    "tinker.types.shared.untyped_api_future": "ModelID RequestID UntypedAPIFuture",
    "tinker.types.stop_reason": "StopReason",
    "tinker.types.telemetry_batch": "TelemetryBatch TelemetryEvent",
    "tinker.types.telemetry_event": (
        "GenericEvent SessionEndEvent SessionStartEvent TelemetryEvent UnhandledExceptionEvent"
    ),
    "tinker.types.telemetry_response": "TelemetryResponse",
    "tinker.types.telemetry_send_request": "TelemetryEvent TelemetrySendRequest",
    "tinker.types.tensor_data": "TensorData TensorDtype",
    "tinker.types.tensor_dtype": "TensorDtype",
    "tinker.types.topk_logprobs": "MASK_LOGPROB TopkLogprobs topk_to_lists",
    "tinker.types.training_run": "Checkpoint TrainingRun",
    "tinker.types.training_runs_response": "Cursor TrainingRun TrainingRunsResponse",
    "tinker.types.try_again_response": "TryAgainResponse",
    "tinker.types.unhandled_exception_event": "EventType Severity UnhandledExceptionEvent",
    "tinker.types.unload_model_request": "ModelID UnloadModelRequest",
    "tinker.types.unload_model_response": "ModelID UnloadModelResponse",
    "tinker.types.weights_info_response": "AdamOptimizerConfig OptimizerConfig WeightsInfoResponse",
    "tinker.types.whoami_response": "WhoamiResponse",
}
"""Each module, and the names that it provides."""
