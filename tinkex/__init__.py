"""Tinkex: the blocking, threaded Python SDK for the Tinker fine-tuning API.

``ServiceClient`` starts a session and makes the other clients; ``types`` has the data classes; every error is a
``TinkerError``.

Example::

    import tinkex
    from tinkex import types

    with tinkex.ServiceClient(base_url="local://") as service:
        training = service.create_lora_training_client("tinkex/byte-lm", rank=32)

Importing this package must be fast, so modules that many scripts do not need are imported late: the names in
``_LATER`` when they are first used, and other modules inside the functions that need them.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from tinkex import auth, metrics, types
from tinkex._version import __title__, __version__
from tinkex.concurrency.futures import APIFuture
from tinkex.concurrency.supervisor import ClientSupervisor
from tinkex.config import Config, log_level
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
    ExperimentalWarning,
    InputError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RequestFailedError,
    ServerWarning,
    SessionEndedError,
    TinkerError,
    UnprocessableEntityError,
)
from tinkex.observability import logs
from tinkex.sampling_client import SamplingClient
from tinkex.service_client import ServiceClient
from tinkex.session_manager import SessionInfo, SessionManager
from tinkex.training_client import TrainingClient

if TYPE_CHECKING:
    from tinkex.admin_client import AdminClient
    from tinkex.compat import install_as_tinker
    from tinkex.download.paths import UnsafeDownloadError
    from tinkex.losses.traced import LossHandle, PerDatumLossFn
    from tinkex.rest_client import RestClient
    from tinkex.sampling_client import BackcompatSamplingClientFuture
    from tinkex.training_client import BackcompatTrainingClientFuture
    from tinkex.types import *  # noqa: F403
    from tinkex.types.options import APIResponse, AsyncAPIResponse, RequestOptions, Timeout

logs.quiet()
if _level := log_level():
    logs.show(_level)

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIFuture",
    "APIResponse",
    "APIResponseValidationError",
    "APIStatusError",
    "APITimeoutError",
    "AdminClient",
    "AsyncAPIResponse",
    "AuthenticationError",
    "BackcompatSamplingClientFuture",
    "BackcompatTrainingClientFuture",
    "BadRequestError",
    "BillingError",
    "ClientClosedError",
    "ClientPoisonedError",
    "ClientSupervisor",
    "Config",
    "ConfigError",
    "ConflictError",
    "ExperimentalWarning",
    "InputError",
    "InternalServerError",
    "LossHandle",
    "NotFoundError",
    "PerDatumLossFn",
    "PermissionDeniedError",
    "RateLimitError",
    "RequestFailedError",
    "RequestOptions",
    "RestClient",
    "SamplingClient",
    "ServerWarning",
    "ServiceClient",
    "SessionEndedError",
    "SessionInfo",
    "SessionManager",
    "Timeout",
    "TinkerError",
    "TrainingClient",
    "UnprocessableEntityError",
    "UnsafeDownloadError",
    "__title__",
    "__version__",
    "auth",
    "install_as_tinker",
    "metrics",
    "types",
]
__all__ += types.__all__

_LATER = {
    "APIResponse": "tinkex.types.options",
    "AdminClient": "tinkex.admin_client",
    "AsyncAPIResponse": "tinkex.types.options",
    "BackcompatSamplingClientFuture": "tinkex.sampling_client",
    "BackcompatTrainingClientFuture": "tinkex.training_client",
    "LossHandle": "tinkex.losses.traced",
    "PerDatumLossFn": "tinkex.losses.traced",
    "RequestOptions": "tinkex.types.options",
    "RestClient": "tinkex.rest_client",
    "Timeout": "tinkex.types.options",
    "UnsafeDownloadError": "tinkex.download.paths",
    "install_as_tinker": "tinkex.compat",
    **dict.fromkeys(types.__all__, "tinkex.types"),
}
"""Names that many scripts do not use, with the modules from which they are imported when they are first used."""


if not TYPE_CHECKING:  # a type checker reads the imports above instead, and so refuses any other name

    def __getattr__(name: str) -> object:
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(_LATER[name]), name)
        return found


def __dir__() -> list[str]:
    return __all__
