"""What an organization's administrators ask, answered by a server that bills nothing and keeps no audit log."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request

from tinkex.local.state import State


def routes(state: State) -> Blueprint:
    blueprint = Blueprint("billing", __name__)

    @blueprint.get("/billing/usage/events")
    def usage() -> Any:
        return {"data": [], "sessions": {}, "cost_data_through": None}

    @blueprint.get("/billing/usage/checkpoints/current")
    def storage() -> Any:
        wanted = request.args.get("project_id")
        sizes: dict[str | None, list[int]] = {}
        for checkpoint in state.checkpoints.all():
            if wanted is None or checkpoint.project_id == wanted:
                sizes.setdefault(checkpoint.project_id, []).append(checkpoint.size_bytes)
        return {
            "data": [
                {
                    "project_id": project,
                    "checkpoint_count": len(each),
                    "size_bytes": sum(each),
                    "size_gigabytes": sum(each) / 1e9,
                    "estimated_monthly_cost_usd": 0.0,
                }
                for project, each in sizes.items()
            ],
            "effective_rate_usd_per_gigabyte_month": 0.0,
        }

    @blueprint.get("/audit")
    def audit() -> Any:
        return {"entries": []}

    return blueprint
