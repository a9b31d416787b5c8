"""The endpoints for the administrators of an organization: billing, storage and the audit log."""

from __future__ import annotations

from datetime import date, datetime

from tinkex.api.call import read
from tinkex.http.transport import Transport
from tinkex.types.admin import AuditLogResponse, BillingUsageResponse, CurrentCheckpointStorageUsageResponse


def billing_usage(
    transport: Transport, starting_on: datetime, ending_before: datetime
) -> BillingUsageResponse:
    """Get the usage between two times, hour by hour."""
    query = {"starting_on": starting_on.isoformat(), "ending_before": ending_before.isoformat()}
    return read(BillingUsageResponse, transport.request("GET", "/billing/usage/events", query=query).json())


def checkpoint_storage(transport: Transport, project_id: str | None) -> CurrentCheckpointStorageUsageResponse:
    """Get the present storage of checkpoints, of one project or of all projects."""
    path = "/billing/usage/checkpoints/current"
    answer = transport.request("GET", path, query={"project_id": project_id}).json()
    return read(CurrentCheckpointStorageUsageResponse, answer)


def audit_log(transport: Transport, event_type: str, day: date | None) -> AuditLogResponse:
    """Get the events of one day; ``day`` None is the present day."""
    query = {"event_type": event_type, "day": None if day is None else day.isoformat()}
    return read(AuditLogResponse, transport.request("GET", "/audit", query=query).json())
