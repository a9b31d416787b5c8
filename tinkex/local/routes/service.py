"""The health and the flags of the server, and its sessions."""

from __future__ import annotations

import uuid

from tinkex.local import strict
from tinkex.local.protocol.refused import Refused
from tinkex.local.routes.routing import Route
from tinkex.local.sessions import Session
from tinkex.local.state import State
from tinkex.local.web.answer import Answer, document
from tinkex.local.web.request import Request

_CONFIG = {
    "pjwt_auth_enabled": False,
    "credential_default_source": "api_key",
    "sample_dispatch_bytes_semaphore_size": 10485760,
    "inflight_response_bytes_semaphore_size": 52428800,
    "parallel_fwdbwd_chunks": True,
    "proto_compress_fwdbwd": False,
    "fwdbwd_max_chunk_len": 1024,
    "fwdbwd_max_chunk_bytes_count": 5000000,
    "fwdbwd_dispatch_bytes_semaphore_size": 50000000,
    "billing_exception_max_pause_duration_sec": 3600,
    "sample_no_retries": False,
    "sample_max_concurrent_requests": 2000,
    "sample_use_retrieve_futures": False,
    "sample_join_sampling_session": False,
    "custom_loss_server_side": False,
}
_DYNAMIC_CONFIG = {
    "refresh_interval_sec": 300,
    "sample_cancel_enabled": True,
    "sample_cancel_max_batch_size": 64,
}
_REASONS = ("success", "errored", "interrupted")


def health(state: State, request: Request) -> Answer:
    """Say that the server runs."""
    return document({"status": "ok"})


def client_config(state: State, request: Request) -> Answer:
    """Send the flags, which say how clients are to behave towards this server."""
    return document(_CONFIG)


def dynamic_config(state: State, request: Request) -> Answer:
    """Send the flags that clients request again from time to time."""
    return document(_DYNAMIC_CONFIG)


def create_session(state: State, request: Request) -> Answer:
    """Open a session."""
    fields = request.fields
    session = Session(
        str(uuid.uuid4()),
        fields.strings("tags"),
        fields.mapping("user_metadata"),
        fields.text("project_id", None),
        fields.text("display_name", None),
    )
    state.add_session(session)
    return document({"type": "create_session", "session_id": session.id})


def heartbeat(state: State, request: Request) -> Answer:
    """Keep a session alive."""
    state.session(request.fields.text("session_id"))
    return document({"type": "session_heartbeat"})


def finish_session(state: State, request: Request) -> Answer:
    """End a session at the request of its client."""
    reason = request.fields.child("reason").text("type")
    if reason not in _REASONS:
        raise Refused(422, f"reason.type: {reason!r} is none of {', '.join(_REASONS)}")
    session = state.any_session(request.parameters["session_id"])
    detail = request.fields.text("detail", None)
    warnings = state.end_session(
        session, {"type": "client_finished", "reason": {"type": reason}, "detail": detail}
    )
    return strict.warned(document({}), warnings)


ROUTES = (
    Route("GET", "/healthz", health, needs_key=False),
    Route("POST", "/client/config", client_config),
    Route("POST", "/client/dynamic_config", dynamic_config),
    Route("POST", "/create_session", create_session),
    Route("POST", "/session_heartbeat", heartbeat),
    Route("POST", "/sessions/{session_id}/finish", finish_session),
)
