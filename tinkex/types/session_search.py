"""The request and the answer of a search for sessions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args

from tinkex.errors import InputError
from tinkex.types.checks import integral
from tinkex.types.data import Data
from tinkex.types.message import Message
from tinkex.types.tagged import tagged
from tinkex.types.times import moment

ClientSessionFinishReasonType = Literal["success", "errored", "interrupted"]


@dataclass(frozen=True)
class OwnSearchOwner(Message, strict=True):
    """The caller's own sessions."""

    type: Literal["own"] = "own"


@dataclass(frozen=True)
class AccessibleSearchOwner(Message, strict=True):
    """All sessions that the caller may see."""

    type: Literal["accessible"] = "accessible"


@dataclass(frozen=True)
class UserSearchOwner(
    Message,
    strict=True,
    dumped="type owner_urns",
):
    """The sessions of one to ten users, named by their URNs."""

    owner_urns: list[str]
    type: Literal["user"] = "user"


SearchOwner = OwnSearchOwner | AccessibleSearchOwner | UserSearchOwner


@dataclass(frozen=True)
class ActiveSessionStatusQuery(Message, strict=True):
    """Sessions that are active."""

    type: Literal["active"] = "active"


@dataclass(frozen=True)
class CancelledSessionStatusQuery(Message, strict=True):
    """Sessions that were cancelled from the console."""

    type: Literal["cancelled"] = "cancelled"


@dataclass(frozen=True)
class FailedSessionStatusQuery(Message, strict=True):
    """Sessions that failed because of one of their requests, models or samplers."""

    type: Literal["failed"] = "failed"


@dataclass(frozen=True)
class ClientFinishedSessionStatusQuery(
    Message,
    strict=True,
    dumped="type reasons",
):
    """Sessions that their client ended, for one of ``reasons``, or for any reason if that is None."""

    reasons: list[ClientSessionFinishReasonType] | None = None
    type: Literal["client_finished"] = "client_finished"


SessionStatusQuery = (
    ActiveSessionStatusQuery
    | CancelledSessionStatusQuery
    | FailedSessionStatusQuery
    | ClientFinishedSessionStatusQuery
)


@dataclass(frozen=True)
class SessionSearchCursor(Message):
    """Where the next page starts. It is sent back to the server unchanged."""

    last_created_at: str
    last_session_id: str


@dataclass(frozen=True)
class SessionSearchRequest(Data):
    """A search for sessions.

    A session is found if it meets all conditions; of ``session_id`` and ``display_name``, if both are given, it
    must meet only one. ``display_name`` matches a name that contains each of its words, in upper or lower case.
    ``project_ids`` and ``statuses`` of None match all. ``limit`` is the size of a page, from 1 to 200.
    ``cursor`` is the ``next_cursor`` of the page before. Raises ``InputError`` for values out of range.
    """

    session_id: str | None = None
    project_ids: Sequence[str] | None = None
    user_metadata: dict[str, str] = field(default_factory=dict)
    display_name: str | None = None
    owner: SearchOwner = OwnSearchOwner()
    statuses: Sequence[SessionStatusQuery] | None = None
    limit: int = 50
    cursor: SessionSearchCursor | None = None

    def __post_init__(self) -> None:
        self.__dict__["limit"] = integral("limit", self.limit, at_least=1)
        if self.limit > 200:
            raise InputError(f"limit must be 200 or less, not {self.limit!r}")
        if self.display_name == "":
            raise InputError("display_name must not be empty")

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object to send."""
        fields: dict[str, Any] = {
            "session_id": self.session_id,
            "project_ids": None if self.project_ids is None else list(self.project_ids),
            "user_metadata": self.user_metadata,
            "display_name": self.display_name,
            "owner": self.owner.to_wire(),
            "statuses": None if self.statuses is None else [status.to_wire() for status in self.statuses],
            "limit": self.limit,
            "cursor": None if self.cursor is None else self.cursor.to_wire(),
        }
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True)
class SessionStatusReason(Message):
    """Why a session ended. There is a subclass for each ``type``.

    If the client ended the session, ``type`` is the status that it gave. If the session failed, ``type`` says
    whether a request, a model or a sampler caused the failure, and an id names it.
    """

    type: str
    request_id: str | None = None
    request_type: str | None = None
    training_run_id: str | None = None
    sampling_session_id: str | None = None


@dataclass(frozen=True)
class ClientSessionFinishSuccess(SessionStatusReason, dumped="type"):
    """The client ended the session normally."""

    type: str = "success"


@dataclass(frozen=True)
class ClientSessionFinishErrored(SessionStatusReason, dumped="type"):
    """The client ended the session because of an exception."""

    type: str = "errored"


@dataclass(frozen=True)
class ClientSessionFinishInterrupted(SessionStatusReason, dumped="type"):
    """The client was interrupted, for example by Ctrl-C."""

    type: str = "interrupted"


@dataclass(frozen=True)
class SessionFailedRequestReason(SessionStatusReason, dumped="type request_id request_type"):
    """The session failed because of the request that ``request_id`` and ``request_type`` name."""

    type: str = "request"


@dataclass(frozen=True)
class SessionFailedTrainingRunReason(SessionStatusReason, dumped="type training_run_id"):
    """The session failed because of the model that ``training_run_id`` names."""

    type: str = "training_run"


@dataclass(frozen=True)
class SessionFailedSamplingSessionReason(SessionStatusReason, dumped="type sampling_session_id"):
    """The session failed because of the sampler that ``sampling_session_id`` names."""

    type: str = "sampling_session"


ClientSessionFinishReason = (
    ClientSessionFinishSuccess | ClientSessionFinishErrored | ClientSessionFinishInterrupted
)
SessionFailedReason = (
    SessionFailedRequestReason | SessionFailedTrainingRunReason | SessionFailedSamplingSessionReason
)


@dataclass(frozen=True)
class SessionStatus(Message):
    """The status of a session. There is a subclass for each ``type``; fields that do not apply are None."""

    type: str
    reason: SessionStatusReason | None = tagged(
        SessionStatusReason,
        [*get_args(ClientSessionFinishReason), *get_args(SessionFailedReason)],
        default=None,
    )
    category: str | None = None
    """Who caused a failure: ``user`` or ``internal``."""
    message: str | None = None
    detail: str | None = None


@dataclass(frozen=True)
class SessionActive(SessionStatus, dumped="type"):
    """The session is active."""

    type: str = "active"


@dataclass(frozen=True)
class ClientSessionFinished(SessionStatus, dumped="type reason detail"):
    """The client ended the session, for a ``reason`` and with a ``detail``."""

    type: str = "client_finished"


@dataclass(frozen=True)
class SessionCancelled(SessionStatus, dumped="type detail"):
    """The session was cancelled from the console, with a ``detail``."""

    type: str = "cancelled"


@dataclass(frozen=True)
class SessionFailed(SessionStatus, dumped="type category reason message"):
    """The session failed. ``reason`` says because of what, ``category`` who caused it, ``message`` how."""

    type: str = "failed"


_STATUSES = (SessionActive, ClientSessionFinished, SessionCancelled, SessionFailed)


@dataclass(frozen=True, kw_only=True)
class SessionSummary(Message):
    """A session that was found. ``status`` is None if it is unknown whether the session is active."""

    session_id: str
    created_at: datetime = moment()
    owner: str
    project_id: str
    status: SessionStatus | None = tagged(SessionStatus, _STATUSES, default=None)
    checkpoints_count: int
    display_name: str | None = None
    user_metadata: dict[str, Any] | None = None
    checkpoint_storage_bytes: int | None = None


@dataclass(frozen=True)
class SessionSearchResponse(Message):
    """A page of sessions, newest first. ``next_cursor`` is None on the last page."""

    sessions: list[SessionSummary]
    next_cursor: SessionSearchCursor | None = None
