"""The answers at the start of a session: the flags of the server, and the session's id."""

from __future__ import annotations

from dataclasses import dataclass

from tinkex.types.message import Message


@dataclass(frozen=True)
class ServerFlags(Message):
    """The answer of ``POST /client/config``: how a client is to behave towards this server.

    Names that contain ``bytes`` are sizes in bytes. Only flags that this client obeys have a field; others are ignored.
    """

    pjwt_auth_enabled: bool = False
    sample_dispatch_bytes_semaphore_size: int = 10_485_760
    inflight_response_bytes_semaphore_size: int = 52_428_800
    parallel_fwdbwd_chunks: bool = True
    proto_compress_fwdbwd: bool = False
    fwdbwd_max_chunk_len: int = 1024
    fwdbwd_max_chunk_bytes_count: int = 5_000_000
    billing_exception_max_pause_duration_sec: float = 3600.0
    sample_max_concurrent_requests: int = 2000
    sample_use_retrieve_futures: bool = False
    sample_join_sampling_session: bool = False
    custom_loss_server_side: bool = False


@dataclass(frozen=True)
class DynamicFlags(Message):
    """The answer of ``POST /client/dynamic_config``: flags that may change while a client is in use."""

    refresh_interval_sec: float = 300.0
    sample_cancel_enabled: bool = False


@dataclass(frozen=True)
class CreateSessionResponse(Message):
    """The answer of ``POST /create_session``. Its messages are written to the log of the user."""

    session_id: str
    info_message: str | None = None
    warning_message: str | None = None
    error_message: str | None = None
