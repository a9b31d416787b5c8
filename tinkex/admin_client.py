"""``AdminClient``: what an organization's administrators may ask."""

from __future__ import annotations

from datetime import date, datetime

from tinkex.api import admin as api
from tinkex.concurrency.futures import APIFuture, awaited
from tinkex.errors import InputError
from tinkex.rest.base import RestBase
from tinkex.types import times
from tinkex.types.admin import (
    AuditEventType,
    AuditLogResponse,
    BillingUsageResponse,
    CurrentCheckpointStorageUsageResponse,
)


class AdminClient(RestBase):
    """Billing, storage and the audit log; each call returns an ``APIFuture`` at once.

    The server answers them with 403 (``PermissionDeniedError``) unless the key is an administrator's.
    """

    def get_billing_usage(
        self, starting_on: datetime | str, ending_before: datetime | str
    ) -> APIFuture[BillingUsageResponse]:
        """Usage by the hour from ``starting_on`` till ``ending_before``: whole hours, at most 14 days apart.

        Times may be ISO 8601 text; without a zone they are UTC.
        """
        start, end = _time("starting_on", starting_on), _time("ending_before", ending_before)
        return self._start(api.billing_usage, start, end)

    get_billing_usage_async = awaited(get_billing_usage)

    def get_current_checkpoint_storage_usage(
        self, project_id: str | None = None
    ) -> APIFuture[CurrentCheckpointStorageUsageResponse]:
        """What checkpoints take up now, of one project or of the whole organization."""
        return self._start(api.checkpoint_storage, project_id)

    get_current_checkpoint_storage_usage_async = awaited(get_current_checkpoint_storage_usage)

    def get_audit_log(
        self, event_type: AuditEventType = "all", day: date | None = None
    ) -> APIFuture[AuditLogResponse]:
        """The events of one UTC day, the present one by default."""
        return self._start(api.audit_log, event_type, day)

    get_audit_log_async = awaited(get_audit_log)


def _time(name: str, value: datetime | str) -> datetime:
    try:
        return times.parse(value)
    except ValueError as error:
        raise InputError(f"{name}: {error}") from None
