"""Tinkex: the blocking, threaded Python SDK for the Tinker fine-tuning API.

    import tinkex
    from tinkex import types

    with tinkex.ServiceClient(base_url="local://") as service:
        training = service.create_lora_training_client("tinkex/byte-lm", rank=32)

``ServiceClient`` is where to start; ``types`` holds the data; every error is a ``TinkerError``.
"""

from tinkex import logs, metrics, types
from tinkex._version import __version__
from tinkex.admin_client import AdminClient
from tinkex.config import Config, log_level
from tinkex.download.paths import UnsafeDownloadError
from tinkex.errors import (
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    BillingError,
    ClientClosedError,
    ClientPoisonedError,
    ConfigError,
    ConflictError,
    InputError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RequestFailedError,
    SessionEndedError,
    TinkerError,
    UnprocessableEntityError,
)
from tinkex.futures import APIFuture
from tinkex.rest_client import RestClient
from tinkex.sampling_client import SamplingClient
from tinkex.service_client import ServiceClient
from tinkex.session_manager import SessionInfo, SessionManager
from tinkex.supervisor import ClientSupervisor
from tinkex.training_client import TrainingClient
from tinkex.types import *  # noqa: F403
from tinkex.types import __all__ as _type_names

logs.quiet()
if _level := log_level():
    logs.show(_level)

__all__ = [
    "AdminClient",
    "RestClient",
    "UnsafeDownloadError",
    "APIConnectionError",
    "APIError",
    "APIFuture",
    "APIResponseValidationError",
    "APIStatusError",
    "APITimeoutError",
    "AuthenticationError",
    "BadRequestError",
    "BillingError",
    "ClientClosedError",
    "ClientPoisonedError",
    "ClientSupervisor",
    "Config",
    "ConfigError",
    "ConflictError",
    "InputError",
    "InternalServerError",
    "NotFoundError",
    "PermissionDeniedError",
    "RateLimitError",
    "RequestFailedError",
    "SamplingClient",
    "ServiceClient",
    "SessionEndedError",
    "SessionInfo",
    "SessionManager",
    "TinkerError",
    "TrainingClient",
    "UnprocessableEntityError",
    "__version__",
    "metrics",
    "types",
    *_type_names,
]
