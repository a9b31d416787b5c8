"""``AdminClient``: what an organization's administrators may ask."""

from __future__ import annotations

from datetime import date, datetime

from tinkex.api import admin as api
from tinkex.concurrency.futures import APIFuture
from tinkex.concurrency.twins import awaited
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

    The future raises ``PermissionDeniedError`` unless the key is an administrator's. Each method has an
    ``_async`` twin, a coroutine of the result with the same arguments.

    Example::

        with tinkex.AdminClient(base_url="local://") as admin:
            for item in admin.get_current_checkpoint_storage_usage().result().data:
                print(item.project_id, item.checkpoint_count, item.size_gigabytes)
    """

    def get_billing_usage(
        self, starting_on: datetime | str, ending_before: datetime | str
    ) -> APIFuture[BillingUsageResponse]:
        """Get the usage by the hour from ``starting_on`` till ``ending_before``.

        Both times are whole hours, at most 14 days apart. Each is a ``datetime`` or ISO 8601 text; a
        time without a zone is in UTC. Raises ``InputError`` for text that is not a time.

        Example::

            with tinkex.AdminClient(base_url="local://") as admin:
                usage = admin.get_billing_usage("2026-01-01T00:00", "2026-01-02T00:00").result()
                print(len(usage.data))
        """
        start, end = _time("starting_on", starting_on), _time("ending_before", ending_before)
        return self._start(api.billing_usage, start, end)

    @awaited(get_billing_usage)
    async def get_billing_usage_async(self) -> None:
        """A coroutine that returns the usage by the hour."""

    def get_current_checkpoint_storage_usage(
        self, project_id: str | None = None
    ) -> APIFuture[CurrentCheckpointStorageUsageResponse]:
        """Get the number, size in bytes and monthly cost of the checkpoints that are kept now.

        The checkpoints are those of one project, or of the whole organization.
        """
        return self._start(api.checkpoint_storage, project_id)

    @awaited(get_current_checkpoint_storage_usage)
    async def get_current_checkpoint_storage_usage_async(self) -> None:
        """A coroutine that returns what checkpoints take up now."""

    def get_audit_log(
        self, event_type: AuditEventType = "all", day: date | None = None
    ) -> APIFuture[AuditLogResponse]:
        """List the events of one UTC day, the present one by default."""
        return self._start(api.audit_log, event_type, day)

    @awaited(get_audit_log)
    async def get_audit_log_async(self) -> None:
        """A coroutine that returns the events of the day."""


def _time(name: str, value: datetime | str) -> datetime:
    try:
        return times.parse(value)
    except ValueError as error:
        raise InputError(f"{name}: {error}") from None
