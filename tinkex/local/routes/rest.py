"""Administration: training runs, checkpoints, sessions."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, TypeVar

from tinkex.local.checkpoints.path import Key
from tinkex.local.protocol.refused import Refused
from tinkex.local.routes.downloads import checkpoint_key, new_link
from tinkex.local.routes.routing import Route
from tinkex.local.routes.runs import training_run, training_runs
from tinkex.local.routes.session_search import search
from tinkex.local.routes.submission import Number
from tinkex.local.routes.timeline import timeline
from tinkex.local.routes.training import ttl_seconds
from tinkex.local.state import State
from tinkex.local.web.answer import NO_CONTENT, Answer, document
from tinkex.local.web.request import Request
from tinkex.local.work.fingerprint import fingerprint

_T = TypeVar("_T")
_CHECKPOINT = "/training_runs/{run}/checkpoints/{kind}/{name}"


def list_training_runs(state: State, request: Request) -> Answer:
    """A page of training runs, of all projects or of one."""
    runs, cursor = _page(request, training_runs(state, request.query.get("project_id")))
    return document({"training_runs": runs, "cursor": cursor})


def get_training_run(state: State, request: Request) -> Answer:
    """One training run."""
    return document(training_run(state, request.parameters["run"]))


def list_checkpoints(state: State, request: Request) -> Answer:
    """All checkpoints of a run."""
    run = request.parameters["run"]
    training_run(state, run)
    return document({"checkpoints": [each.to_json() for each in state.checkpoints.all(run)]})


def list_user_checkpoints(state: State, request: Request) -> Answer:
    """A page of all checkpoints."""
    checkpoints, cursor = _page(request, state.checkpoints.all())
    return document({"checkpoints": [each.to_json() for each in checkpoints], "cursor": cursor})


def delete_checkpoint(state: State, request: Request) -> Answer:
    """Delete a checkpoint for good."""
    state.checkpoints.delete(checkpoint_key(request))
    return NO_CONTENT


def publish(state: State, request: Request) -> Answer:
    """Make a checkpoint public."""
    state.checkpoints.publish(checkpoint_key(request), public=True)
    return NO_CONTENT


def unpublish(state: State, request: Request) -> Answer:
    """Make a checkpoint private again."""
    state.checkpoints.publish(checkpoint_key(request), public=False)
    return NO_CONTENT


def set_ttl(state: State, request: Request) -> Answer:
    """Let a checkpoint expire ``ttl_seconds`` from now, or never."""
    state.checkpoints.set_ttl(checkpoint_key(request), ttl_seconds(request.fields))
    return NO_CONTENT


def copy_weights(state: State, request: Request) -> Answer:
    """Copy a checkpoint into a project, or among the models of a session."""
    fields = request.fields
    source, ttl = Key.parse(fields.text("source_path")), ttl_seconds(fields)
    project, session_id = fields.text("destination_project_id", None), fields.text("session_id", None)
    if (project is None) == (session_id is None):
        raise Refused(422, "destination_project_id, session_id: exactly one must be given")
    if session_id is None:
        # The run is named after the request, so that a request sent again finds the copy it made.
        sent = request.header("X-Idempotency-Key") or str(uuid.uuid4())
        run = f"copy-{fingerprint('copy_weights', [sent, fields.document]).hex()}"
        copied = state.checkpoints.copy(source, run, ttl_seconds=ttl, project_id=project)
        return document({"tinker_path": copied.path})
    session = state.session(session_id)
    number = Number(session, "model_seq_id", fields.integer("model_seq_id", low=0))

    def copy() -> str:
        run = f"{session.id}:train:{number.value}"
        copied = state.checkpoints.copy(source, run, ttl_seconds=ttl, project_id=session.project_id)
        state.add_copy(session, run)
        return copied.path

    return document({"tinker_path": number.once("copy_weights", fields, copy)})


def list_sessions(state: State, request: Request) -> Answer:
    """A page of the ids of all sessions, the newest first."""
    sessions, cursor = _page(request, state.sessions())
    return document({"sessions": [session.id for session in sessions], "cursor": cursor})


def get_session(state: State, request: Request) -> Answer:
    """One session."""
    session = state.any_session(request.parameters["session_id"])
    return document(
        {
            "training_run_ids": session.runs,
            "sampler_ids": session.samplers,
            "user_metadata": session.user_metadata,
            "display_name": session.display_name,
        }
    )


def search_sessions(state: State, request: Request) -> Answer:
    """A page of the sessions that meet conditions."""
    return document(search(state, request.fields))


def assign_session_project(state: State, request: Request) -> Answer:
    """Move a session, with the checkpoints of its runs, into a project."""
    session = state.any_session(request.parameters["session_id"])
    session.project_id = project = request.fields.text("project_id")
    for run in list(session.runs):
        state.checkpoints.set_project(run, project)
    return document({})


def trace_export(state: State, request: Request) -> Answer:
    """A link to a session's timeline."""
    session = state.any_session(request.parameters["session_id"])
    models = [model for model in state.models().values() if model.session is session]
    runs = list(session.runs)
    checkpoints = [checkpoint for run in runs for checkpoint in state.checkpoints.all(run)]
    data = timeline(session, runs, models, checkpoints)
    return document({"status": "ready", "url": new_link(state, request, lambda: data, "application/json")})


def _page(request: Request, items: Sequence[_T]) -> tuple[Sequence[_T], dict[str, Any]]:
    """Return the page of ``items`` that ``limit`` and ``offset`` of the query ask for, and its cursor."""
    limit, offset = request.integer("limit", 20), request.integer("offset", 0)
    return items[offset : offset + limit], {"offset": offset, "limit": limit, "total_count": len(items)}


ROUTES = (
    Route("GET", "/training_runs", list_training_runs),
    Route("GET", "/training_runs/{run}", get_training_run),
    Route("GET", "/training_runs/{run}/checkpoints", list_checkpoints),
    Route("GET", "/checkpoints", list_user_checkpoints),
    Route("DELETE", _CHECKPOINT, delete_checkpoint),
    Route("POST", f"{_CHECKPOINT}/publish", publish),
    Route("DELETE", f"{_CHECKPOINT}/publish", unpublish),
    Route("PUT", f"{_CHECKPOINT}/ttl", set_ttl),
    Route("POST", "/copy_weights", copy_weights),
    Route("GET", "/sessions", list_sessions),
    Route("POST", "/sessions/search", search_sessions),
    Route("GET", "/sessions/{session_id}", get_session),
    Route("PUT", "/sessions/{session_id}/project", assign_session_project),
    Route("GET", "/sessions/{session_id}/trace_export", trace_export),
)
