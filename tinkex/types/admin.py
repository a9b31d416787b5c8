"""The answers of the calls for administrators: billing, storage and the audit log."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from tinkex.types.message import Message
from tinkex.types.tagged import tagged
from tinkex.types.times import moment

AuditEventType = Literal["all", "checkpoints", "projects", "teams", "organizations"]


@dataclass(frozen=True)
class BillingEventInfo(Message):
    """What was used, and how much of it. There is a subclass for each ``type``.

    ``training``, ``sampling_prefill`` and ``sampling_sample`` have a ``token_count``, ``checkpoint`` has a
    ``count``, and ``storage`` has ``gigabyte_hours``. ``cached`` is whether prompt tokens came from the cache,
    and ``free`` whether storage is free of charge.
    """

    type: str
    token_count: int | None = None
    cached: bool | None = None
    count: int | None = None
    gigabyte_hours: float | None = None
    free: bool = False


@dataclass(frozen=True)
class TrainingBillingEvent(BillingEventInfo, dumped="type token_count"):
    """Tokens of forward and backward passes."""

    type: str = "training"
    token_count: int = 0


@dataclass(frozen=True)
class SamplingPrefillBillingEvent(BillingEventInfo, dumped="type cached token_count"):
    """Tokens of prompts, ``cached`` or not."""

    type: str = "sampling_prefill"
    token_count: int = 0
    cached: bool = False


@dataclass(frozen=True)
class SamplingSampleBillingEvent(BillingEventInfo, dumped="type token_count"):
    """Tokens that were sampled."""

    type: str = "sampling_sample"
    token_count: int = 0


@dataclass(frozen=True)
class CheckpointBillingEvent(BillingEventInfo, dumped="type count"):
    """Operations on checkpoints."""

    type: str = "checkpoint"
    count: int = 0


@dataclass(frozen=True)
class StorageBillingEvent(BillingEventInfo, dumped="type free gigabyte_hours"):
    """Storage of checkpoints."""

    type: str = "storage"
    gigabyte_hours: float = 0.0


_EVENTS = (
    TrainingBillingEvent,
    SamplingPrefillBillingEvent,
    SamplingSampleBillingEvent,
    CheckpointBillingEvent,
    StorageBillingEvent,
)


@dataclass(frozen=True, kw_only=True)
class BillingUsageEvent(Message):
    """The usage of one kind in one hour, from ``bucket_start`` (included) to ``bucket_end`` (excluded), in UTC.

    Costs are estimates in US dollars.
    """

    bucket_start: datetime = moment()
    bucket_end: datetime = moment()
    base_model: str | None = None
    user_id: str | None = None
    user_name: str | None = None
    session_id: str | None = None
    project_id: str | None = None
    estimated_cost_usd: float | None = None
    effective_rate_usd_per_million_tokens: float | None = None
    effective_rate_usd_per_gigabyte_month: float | None = None
    event_info: BillingEventInfo = tagged(BillingEventInfo, _EVENTS)


@dataclass(frozen=True)
class BillingUsageSession(Message):
    """A session to which usage belongs."""

    user_metadata: dict[str, Any] | None = None


@dataclass(frozen=True)
class BillingUsageResponse(Message):
    """Hourly usage, and the sessions that it belongs to, by their id.

    The estimated costs follow invoices up to ``cost_data_through``, and the published rates after it.
    """

    data: list[BillingUsageEvent]
    sessions: dict[str, BillingUsageSession] = field(default_factory=dict)
    cost_data_through: datetime | None = moment(default=None)


@dataclass(frozen=True, kw_only=True)
class CurrentCheckpointStorageUsageItem(Message):
    """The present storage of the checkpoints of one owner in one project."""

    project_id: str | None = None
    org_user_urn: str | None = None
    user_email: str | None = None
    user_name: str | None = None
    checkpoint_count: int
    size_bytes: int
    size_gigabytes: float
    estimated_monthly_cost_usd: float | None = None


@dataclass(frozen=True)
class CurrentCheckpointStorageUsageResponse(Message, dumped="effective_rate_usd_per_gigabyte_month data"):
    """Checkpoint storage by project and owner. The figures are one or two hours old."""

    data: list[CurrentCheckpointStorageUsageItem]
    effective_rate_usd_per_gigabyte_month: float | None = None


@dataclass(frozen=True)
class AuditLogEntry(Message, dumped="timestamp event event_details model_id tinker_path purpose"):
    """An event, such as ``checkpoint_read``. ``event_details`` says who caused it, and what it affected."""

    event: str
    timestamp: datetime = moment()
    event_details: dict[str, Any] = field(default_factory=dict)
    model_id: str | None = None
    tinker_path: str | None = None
    purpose: str | None = None


@dataclass(frozen=True)
class AuditLogResponse(Message):
    """One day of the audit log, in the order of time."""

    entries: list[AuditLogEntry]
