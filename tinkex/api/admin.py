"""The endpoints for the administrators of an organization: billing, storage and the audit log."""

from __future__ import annotations

from datetime import date, datetime

from tinkex.api.call import get, read
from tinkex.http.transport import Transport
from tinkex.types.admin import AuditLogResponse, BillingUsageResponse, CurrentCheckpointStorageUsageResponse


def billing_usage(
    transport: Transport, starting_on: datetime, ending_before: datetime
) -> BillingUsageResponse:
    """Get the usage between two times, hour by hour."""
    query = {"starting_on": starting_on.isoformat(), "ending_before": ending_before.isoformat()}
    return read(BillingUsageResponse, get(transport, "/billing/usage/events", **query))


def checkpoint_storage(transport: Transport, project_id: str | None) -> CurrentCheckpointStorageUsageResponse:
    """Get the present storage of checkpoints, of one project or of all projects."""
    answer = get(transport, "/billing/usage/checkpoints/current", project_id=project_id)
    return read(CurrentCheckpointStorageUsageResponse, answer)


def audit_log(transport: Transport, event_type: str, day: date | None) -> AuditLogResponse:
    """Get the events of one day; ``day`` None is the present day."""
    on = None if day is None else day.isoformat()
    return read(AuditLogResponse, get(transport, "/audit", event_type=event_type, day=on))
