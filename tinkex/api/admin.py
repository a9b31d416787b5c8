"""Billing, storage and the audit log of an organization."""

from __future__ import annotations

from datetime import date, datetime

from tinkex.api.call import get, read
from tinkex.http.transport import Transport
from tinkex.types.admin import AuditLogResponse, BillingUsageResponse, CurrentCheckpointStorageUsageResponse


def billing_usage(
    transport: Transport, starting_on: datetime, ending_before: datetime
) -> BillingUsageResponse:
    """Usage by the hour."""
    query = {"starting_on": starting_on.isoformat(), "ending_before": ending_before.isoformat()}
    return read(BillingUsageResponse, get(transport, "/billing/usage/events", **query))


def checkpoint_storage(transport: Transport, project_id: str | None) -> CurrentCheckpointStorageUsageResponse:
    """What checkpoints take up now, of one project or of all."""
    answer = get(transport, "/billing/usage/checkpoints/current", project_id=project_id)
    return read(CurrentCheckpointStorageUsageResponse, answer)


def audit_log(transport: Transport, event_type: str, day: date | None) -> AuditLogResponse:
    """The events of a day."""
    on = None if day is None else day.isoformat()
    return read(AuditLogResponse, get(transport, "/audit", event_type=event_type, day=on))
