"""The answers at the start of a session: the flags of the server, and the session's id."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tinkex.types.checks import finite, whole
from tinkex.types.message import Message

LONGEST = 366 * 24 * 3600.0
"""The longest time in seconds that a flag may have."""


@dataclass(frozen=True)
class ServerFlags(Message):
    """The answer of ``POST /client/config``: how a client is to behave towards this server.

    Names that contain ``bytes`` are sizes in bytes. Only flags that this client obeys have a field; others
    are ignored. Raises ``InputError`` for a size or a number with which nothing could be sent.
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

    def __post_init__(self) -> None:
        for name in (
            "sample_dispatch_bytes_semaphore_size",
            "inflight_response_bytes_semaphore_size",
            "fwdbwd_max_chunk_len",
            "fwdbwd_max_chunk_bytes_count",
            "sample_max_concurrent_requests",
        ):
            whole(name, getattr(self, name), at_least=1)
        name = "billing_exception_max_pause_duration_sec"
        finite(name, self.billing_exception_max_pause_duration_sec, at_most=LONGEST)


@dataclass(frozen=True)
class DynamicFlags(Message):
    """The answer of ``POST /client/dynamic_config``: flags that may change while a client is in use.

    Raises ``InputError`` for a number that makes no sense.
    """

    refresh_interval_sec: float = 300.0
    sample_cancel_enabled: bool = False

    def __post_init__(self) -> None:
        finite("refresh_interval_sec", self.refresh_interval_sec, at_most=LONGEST)


@dataclass(frozen=True)
class CreateSessionResponse(Message):
    """The answer of ``POST /create_session``. Its messages are written to the log of the user."""

    type: Literal["create_session"] = "create_session"
    info_message: str | None = None
    warning_message: str | None = None
    error_message: str | None = None
    session_id: str = field(kw_only=True)


@dataclass(frozen=True)
class JoinSamplingSessionResponse(Message):
    """The answer of ``POST /join_sampling_session``: a number that only this client of the session has."""

    type: Literal["join_sampling_session"] = "join_sampling_session"
    client_counter: int = field(kw_only=True)

    def __post_init__(self) -> None:
        whole("client_counter", self.client_counter, at_least=0)
