"""What a server says at first contact: how it wants to be spoken to."""

from __future__ import annotations

from dataclasses import dataclass

from tinkex.types.checks import finite, whole
from tinkex.types.message import Message

LONGEST = 366 * 24 * 3600.0
"""Seconds: no server means a time span that is longer."""


@dataclass(frozen=True)
class ServerFlags(Message):
    """Answer of ``POST /client/config``: how the server wants to be spoken to. Sizes are in bytes.

    Raises ``InputError`` for a size or a number that nothing could be sent with.
    """

    pjwt_auth_enabled: bool = False
    sample_dispatch_bytes_semaphore_size: int = 10_485_760
    inflight_response_bytes_semaphore_size: int = 52_428_800
    parallel_fwdbwd_chunks: bool = True
    proto_compress_fwdbwd: bool = False
    fwdbwd_max_chunk_len: int = 1024
    fwdbwd_max_chunk_bytes_count: int = 5_000_000
    fwdbwd_dispatch_bytes_semaphore_size: int = 50_000_000
    billing_exception_max_pause_duration_sec: float = 3600.0
    sample_no_retries: bool = False
    sample_max_concurrent_requests: int = 2000
    sample_use_retrieve_futures: bool = False
    sample_join_sampling_session: bool = False
    custom_loss_server_side: bool = False

    def __post_init__(self) -> None:
        for name in (
            "sample_dispatch_bytes_semaphore_size",
            "inflight_response_bytes_semaphore_size",
            "fwdbwd_max_chunk_len",
            "fwdbwd_max_chunk_bytes_count",
            "fwdbwd_dispatch_bytes_semaphore_size",
            "sample_max_concurrent_requests",
        ):
            whole(name, getattr(self, name), at_least=1)
        name = "billing_exception_max_pause_duration_sec"
        finite(name, self.billing_exception_max_pause_duration_sec, at_most=LONGEST)


@dataclass(frozen=True)
class DynamicFlags(Message):
    """Answer of ``POST /client/dynamic_config``: flags that may change while a client lives.

    Raises ``InputError`` for a number that makes no sense.
    """

    refresh_interval_sec: float = 300.0
    sample_cancel_enabled: bool = False
    sample_cancel_max_batch_size: int = 64

    def __post_init__(self) -> None:
        finite("refresh_interval_sec", self.refresh_interval_sec, at_most=LONGEST)
        whole("sample_cancel_max_batch_size", self.sample_cancel_max_batch_size, at_least=1)


@dataclass(frozen=True)
class CreateSessionResponse(Message):
    """Answer of ``POST /create_session``; the messages are for the user's log."""

    session_id: str
    info_message: str | None = None
    warning_message: str | None = None
    error_message: str | None = None


@dataclass(frozen=True)
class JoinSamplingSessionResponse(Message):
    """Answer of ``POST /join_sampling_session``: a number of this client's own among those that share it."""

    client_counter: int

    def __post_init__(self) -> None:
        whole("client_counter", self.client_counter, at_least=0)
