"""Billing, storage and the audit log; this server bills nothing and keeps no audit log."""

from __future__ import annotations

from tinkex.local.routes.routing import Route
from tinkex.local.state import State
from tinkex.local.web.answer import Answer, document
from tinkex.local.web.request import Request


def billing_usage(state: State, request: Request) -> Answer:
    """Answer that nothing was used, because this server bills nothing."""
    return document({"data": [], "sessions": {}, "cost_data_through": None})


def checkpoint_storage(state: State, request: Request) -> Answer:
    """Answer with the present storage of checkpoints, of one project or of each project."""
    wanted = request.query.get("project_id")
    sizes: dict[str | None, list[int]] = {}
    for checkpoint in state.checkpoints.all():
        if wanted is None or checkpoint.project_id == wanted:
            sizes.setdefault(checkpoint.project_id, []).append(checkpoint.size_bytes)
    usage = [
        {
            "project_id": project,
            "checkpoint_count": len(each),
            "size_bytes": sum(each),
            "size_gigabytes": sum(each) / 1e9,
            "estimated_monthly_cost_usd": 0.0,
        }
        for project, each in sizes.items()
    ]
    return document({"data": usage, "effective_rate_usd_per_gigabyte_month": 0.0})


def audit_log(state: State, request: Request) -> Answer:
    """Answer that the day has no events, because this server keeps no audit log."""
    return document({"entries": []})


ROUTES = (
    Route("GET", "/billing/usage/events", billing_usage),
    Route("GET", "/billing/usage/checkpoints/current", checkpoint_storage),
    Route("GET", "/audit", audit_log),
)
