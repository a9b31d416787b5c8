"""Names of the official SDK that have no other place in Tinkex."""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Generator
from concurrent.futures import Future
from enum import Enum
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

from tinkex.api.service import PROTOCOL_VERSION
from tinkex.concurrency import futures
from tinkex.concurrency.created import Created
from tinkex.config import DEFAULT_BASE_URL, credentials_path
from tinkex.polling.queue_state import QueueStateObserver
from tinkex.types.console import CONSOLE, checkpoint, playground
from tinkex.types.sampling import SampledSequence, TopkLogprobs, TopkRows

__all__ = [
    "DEFAULT_BASE_URL",
    "APIFuture",
    "AwaitableConcurrentFuture",
    "BackcompatClientFuture",
    "ClientConnectionPoolType",
    "QueueState",
    "QueueStateObserver",
    "RetryableException",
    "api_key_console_url",
    "checkpoint_console_url",
    "checkpoint_playground_url",
    "default_credentials_path",
    "is_retryable_status_code",
    "new_api_key_console_url",
    "resolve_base_url",
    "session_console_url",
    "sessions_console_url",
    "topk_to_lists",
    "training_run_console_url",
]

T = TypeVar("T")

__title__ = "tinker"
__version__ = PROTOCOL_VERSION
"""The version of the official SDK that the drop-in stands for."""


class APIFuture(ABC, Generic[T]):
    """The abstract base class of all that can be waited for.

    The futures of Tinkex, and the clients that a service creates, count as instances of this class.
    """

    @abstractmethod
    def result(self, timeout: float | None = None) -> T:
        """Block for the result and return it. Raises ``TimeoutError`` after ``timeout`` seconds."""

    @abstractmethod
    async def result_async(self, timeout: float | None = None) -> T:
        """Await the result and return it. Raises ``TimeoutError`` after ``timeout`` seconds."""

    @abstractmethod
    def future(self) -> Future[T]:
        """Return the ``concurrent.futures.Future`` of the result."""

    async def coroutine(self) -> T:
        """Await the result and return it: for functions that take a coroutine."""
        return await self

    def __await__(self) -> Generator[Any, None, T]:
        return self.result_async().__await__()


APIFuture.register(futures.APIFuture)
APIFuture.register(Created)


class AwaitableConcurrentFuture(APIFuture[T]):
    """A ``concurrent.futures.Future`` of the caller that can also be awaited."""

    def __init__(self, future: Future[T]) -> None:
        self._future = future

    def result(self, timeout: float | None = None) -> T:
        """Block for the result and return it. Raises ``TimeoutError`` after ``timeout`` seconds."""
        return self._future.result(timeout)

    async def result_async(self, timeout: float | None = None) -> T:
        """Await the result and return it. After ``timeout`` seconds, cancel the work and raise ``TimeoutError``."""
        return await asyncio.wait_for(asyncio.wrap_future(self._future), timeout)

    def future(self) -> Future[T]:
        """Return the future that this one was made of."""
        return self._future


class ClientConnectionPoolType(Enum):
    """The pools of connections of the official client. Tinkex has one pool for each server and credential."""

    SESSION = "session"
    SAMPLE = "sample"
    TRAIN = "train"
    REST_SUPPORT_REDIRECT = "rest_support_redirect"
    RETRIEVE_PROMISE = "retrieve_promise"
    RETRIEVE_FUTURES = "retrieve_futures"
    TELEMETRY = "telemetry"


class QueueState(Enum):
    """The states of the queue that servers report. Observers in Tinkex receive the value, which is text."""

    ACTIVE = "active"
    PAUSED_RATE_LIMIT = "paused_rate_limit"
    PAUSED_CAPACITY = "paused_capacity"
    UNKNOWN = "unknown"


BackcompatClientFuture = Created
"""In Tinkex, what creating a client returns is the client itself, which is the future of itself, too."""


class RetryableException(Exception):
    """The official client's mark of a failure that it tries again. Tinkex never raises it."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def is_retryable_status_code(status_code: int) -> bool:
    """Return whether a request that was answered with this HTTP status is sent again."""
    return status_code in (408, 409, 429) or 500 <= status_code < 600


def topk_to_lists(topk: TopkLogprobs) -> TopkRows:
    """Return the rows of two matrices of top-k logprobs as lists, see ``SampledSequence.topk_logprobs``."""
    return SampledSequence("stop", topk_logprobs_np=topk).topk_logprobs or []


def resolve_base_url(base_url: object = None) -> str:
    """Return ``base_url``, else ``TINKER_BASE_URL``, else the hosted service, without a slash at the end."""
    given = "" if base_url is None else str(base_url)
    return (given or os.environ.get("TINKER_BASE_URL") or DEFAULT_BASE_URL).rstrip("/")


def default_credentials_path() -> object:
    """Return the path of the file of stored logins."""
    return credentials_path()


def new_api_key_console_url(key_name: str) -> str:
    """Return the address of the console's form for a new API key called ``key_name``."""
    return f"{CONSOLE}/keys?{urlencode({'new_key': 'true', 'key_name': key_name})}"


def api_key_console_url(key_id: str) -> str:
    """Return the address of the page of an API key."""
    return f"{CONSOLE}/keys/{quote(key_id, safe='')}"


def sessions_console_url() -> str:
    """Return the address of the list of sessions."""
    return f"{CONSOLE}/sessions"


def session_console_url(session_id: str) -> str:
    """Return the address of the page of a session."""
    return f"{CONSOLE}/sessions/{session_id}"


def training_run_console_url(training_run_id: str) -> str:
    """Return the address of the page of a training run."""
    return f"{CONSOLE}/training_runs/{training_run_id}"


def checkpoint_console_url(training_run_id: str, checkpoint_id: str) -> str:
    """Return the address of the page of a checkpoint."""
    return checkpoint(training_run_id, checkpoint_id)


def checkpoint_playground_url(tinker_path: str) -> str:
    """Return the address of the page on which a person can talk with a sampler checkpoint."""
    return playground(tinker_path)
