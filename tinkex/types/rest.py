"""Training runs, checkpoints and sessions, as ``RestClient`` lists them. Sizes are in bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from tinkex.errors import InputError
from tinkex.types.message import Message
from tinkex.types.times import moment

CheckpointType = Literal["training", "sampler", "external"]
AccessScope = Literal["owned", "accessible"]

_TYPE_OF_KIND = {"weights": "training", "sampler_weights": "sampler", "external_weights": "external"}


@dataclass(frozen=True)
class Cursor(Message):
    """The position of a page in the whole list."""

    offset: int
    limit: int
    total_count: int


@dataclass(frozen=True)
class Checkpoint(
    Message,
    dumped="checkpoint_id checkpoint_type time tinker_path size_bytes public user_metadata expires_at",
):
    """A saved checkpoint. ``expires_at`` is None if it is kept until it is deleted."""

    checkpoint_id: str
    checkpoint_type: CheckpointType
    tinker_path: str
    time: datetime | None = moment(default=None)
    """When the checkpoint was saved; None on servers that do not say."""
    size_bytes: int | None = None
    public: bool = False
    user_metadata: dict[str, str] | None = None
    expires_at: datetime | None = moment(default=None)


@dataclass(frozen=True)
class CheckpointArchiveUrlResponse(Message):
    """The signed URL of a checkpoint as one archive. It needs no key, so treat it as a secret."""

    url: str = field(repr=False)
    expires: datetime = moment()
    """When the URL stops working."""


@dataclass(frozen=True)
class CheckpointsListResponse(Message):
    """A list of checkpoints. ``cursor`` is None if the list is complete."""

    checkpoints: list[Checkpoint]
    cursor: Cursor | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingRun(Message):
    """A model that is or was in training, and its newest checkpoints."""

    training_run_id: str
    base_model: str
    model_owner: str
    is_lora: bool
    corrupted: bool = False
    lora_rank: int | None = None
    last_request_time: datetime = moment()
    last_checkpoint: Checkpoint | None = None
    last_sampler_checkpoint: Checkpoint | None = None
    user_metadata: dict[str, str] | None = None


@dataclass(frozen=True)
class TrainingRunsResponse(Message):
    """A page of training runs."""

    training_runs: list[TrainingRun]
    cursor: Cursor


@dataclass(frozen=True)
class ExternalWeightsUrlsResponse(Message):
    """A signed URL for each file of a checkpoint, by the path of the file. The URLs work until ``expires``."""

    urls: dict[str, str]
    expires: datetime = moment()

    def __repr__(self) -> str:
        # A signed URL gives access to the weights, so the URLs must not appear in logs.
        return f"ExternalWeightsUrlsResponse(files={sorted(self.urls)}, expires={self.expires.isoformat()!r})"


@dataclass(frozen=True)
class CopyWeightsResponse(Message):
    """The path of a copy of a checkpoint."""

    tinker_path: str


@dataclass(frozen=True)
class GetSessionResponse(Message):
    """A session: the models that it trained and the samplers that it opened."""

    training_run_ids: list[str]
    sampler_ids: list[str]
    user_metadata: dict[str, Any] | None = None
    display_name: str | None = None


@dataclass(frozen=True)
class ListSessionsResponse(Message):
    """A page of session ids."""

    sessions: list[str]


@dataclass(frozen=True)
class TraceExportResponse(Message):
    """How far the export of a session's trace is: ``pending``, ``ready`` with a ``url``, or ``failed``."""

    status: str
    url: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class WhoamiResponse(Message):
    """The owner of a credential. ``email`` is None if the owner is not a person."""

    user_urn: str
    org_urn: str
    email: str | None = None


@dataclass(frozen=True)
class ParsedCheckpointTinkerPath(Message):
    """The parts of a path ``tinker://{training_run_id}/{kind}/{name}``. ``checkpoint_id`` is ``kind/name``.

    ``checkpoint_type`` is ``training``, ``sampler`` or ``external``, as the kind implies; for a kind that is
    not known it is the kind itself.
    """

    tinker_path: str
    training_run_id: str
    checkpoint_type: str
    checkpoint_id: str

    @classmethod
    def from_tinker_path(cls, tinker_path: str) -> ParsedCheckpointTinkerPath:
        """Parse ``tinker_path``. Raises ``InputError`` if it does not have these three parts."""
        parts = str(tinker_path).removeprefix("tinker://").split("/")
        whole = len(parts) == 3 and not {"", ".", ".."} & set(parts)
        if not str(tinker_path).startswith("tinker://") or not whole:
            raise InputError(f"a checkpoint path looks like tinker://run/weights/name, not {tinker_path!r}")
        run, kind, name = parts
        return cls(tinker_path, run, _TYPE_OF_KIND.get(kind, kind), f"{kind}/{name}")

    @property
    def kind(self) -> str:
        """The second part of the path: ``weights``, ``sampler_weights`` or ``external_weights``."""
        return self.checkpoint_id.split("/")[0]

    @property
    def name(self) -> str:
        """The name under which the checkpoint was saved."""
        return self.checkpoint_id.split("/")[1]
