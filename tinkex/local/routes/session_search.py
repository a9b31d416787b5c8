"""The search for sessions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinkex.local.protocol.fields import Fields
from tinkex.local.routes.runs import OWNER
from tinkex.local.sessions import Session
from tinkex.local.state import State

_LATEST = "~"  # sorts after every time and every id


def search(state: State, fields: Fields) -> dict[str, Any]:
    """Return the page of sessions that meet the conditions in ``fields``, and the cursor of the next page."""
    matches = _conditions(fields)
    limit = fields.integer("limit", 50, low=1, high=200)
    found = [session for session in state.sessions() if matches(session)]
    last = found[limit - 1] if len(found) > limit else None
    following = last and {"last_created_at": last.created, "last_session_id": last.id}
    return {"sessions": [_summary(state, each) for each in found[:limit]], "next_cursor": following}


def _conditions(fields: Fields) -> Callable[[Session], bool]:
    """Return a function that tells whether a session meets all conditions.

    If both an id and the words of a name are given, a session has to match only one of the two.
    """
    wanted_id = fields.text("session_id", None)
    words = (fields.text("display_name", None) or "").lower().split()
    metadata = fields.mapping("user_metadata") or {}
    projects = fields.strings("project_ids")
    statuses = {Fields(item, "statuses").text("type") for item in fields.items("statuses", [])}
    cursor = fields.child("cursor", {})
    before = (cursor.text("last_created_at", _LATEST), cursor.text("last_session_id", _LATEST))

    def matches(session: Session) -> bool:
        name = (session.display_name or "").lower()
        named = session.id == wanted_id or (bool(words) and all(word in name for word in words))
        return (
            (named or (wanted_id is None and not words))
            and all((session.user_metadata or {}).get(k) == v for k, v in metadata.items())
            and (not projects or session.project_id in projects)
            and (not statuses or session.status["type"] in statuses)
            and (session.created, session.id) < before
        )

    return matches


def _summary(state: State, session: Session) -> dict[str, Any]:
    kept = [checkpoint for run in list(session.runs) for checkpoint in state.checkpoints.all(run)]
    return {
        "session_id": session.id,
        "created_at": session.created,
        "owner": OWNER,
        "project_id": session.project_id or "",
        "status": session.status,
        "checkpoints_count": len(kept),
        "checkpoint_storage_bytes": sum(checkpoint.size_bytes for checkpoint in kept),
        "display_name": session.display_name,
        "user_metadata": session.user_metadata,
    }
