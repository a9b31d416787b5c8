"""Handshake, sessions' lives, telemetry, promises."""

from __future__ import annotations

import uuid
from typing import Any

from flask import Blueprint, Response, jsonify, request

from tinkex.local.futures import Failure
from tinkex.local.model import BASE_MODEL, MAX_CONTEXT_LENGTH
from tinkex.local.problems import Refused
from tinkex.local.state import Session, State

from .common import body

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


def routes(state: State) -> Blueprint:
    blueprint = Blueprint("service", __name__)

    @blueprint.get("/healthz")
    def health() -> Any:
        return {"status": "ok"}

    @blueprint.get("/get_server_capabilities")
    def capabilities() -> Any:
        model = {"model_name": BASE_MODEL, "max_context_length": MAX_CONTEXT_LENGTH}
        return {"supported_models": [{**model, "trainable": True, "sampleable": True}]}

    @blueprint.post("/client/config")
    def client_config() -> Any:
        return _CONFIG

    @blueprint.post("/client/dynamic_config")
    def dynamic_config() -> Any:
        return _DYNAMIC_CONFIG

    @blueprint.post("/telemetry")
    def telemetry() -> Any:
        return {"status": "accepted"}

    @blueprint.post("/create_session")
    def create_session() -> Any:
        fields = body()
        session = Session(
            str(uuid.uuid4()),
            fields.strings("tags"),
            fields.mapping("user_metadata"),
            fields.text("project_id", None),
            fields.text("display_name", None),
        )
        state.add_session(session)
        return {"type": "create_session", "session_id": session.id}

    @blueprint.post("/session_heartbeat")
    def heartbeat() -> Any:
        state.session(body().text("session_id"))
        return {"type": "session_heartbeat"}

    @blueprint.post("/sessions/<session_id>/finish")
    def finish(session_id: str) -> Any:
        fields = body()
        reason = fields.child("reason").text("type")
        if reason not in ("success", "errored", "interrupted"):
            raise Refused(422, f"reason.type: {reason!r} is none of success, errored, interrupted")
        session = state.any_session(session_id)
        status = {
            "type": "client_finished",
            "reason": {"type": reason},
            "detail": fields.text("detail", None),
        }
        state.end_session(session, status)
        return {}

    @blueprint.post("/retrieve_future")
    def retrieve_future() -> Any:
        promise = state.promises.get(body().text("request_id"))
        outcome = promise.wait(state.poll_timeout)
        if state.closing.is_set():
            raise Refused(503, "the server is stopping", retry_after=1)
        if outcome is None:
            waiting = {"type": "try_again", "request_id": promise.request_id, "queue_state": "active"}
            return jsonify(waiting), 408
        if isinstance(outcome, Failure):
            return {"error": outcome.error, "category": outcome.category}
        if "application/x-protobuf" in request.headers.get("Accept", ""):
            message = outcome.to_proto()
            if message is not None:
                return Response(message, mimetype="application/x-protobuf")
        return outcome.to_json()

    @blueprint.post("/retrieve_futures")
    def retrieve_futures() -> Any:
        fields = body()
        target = fields.child("target")
        if target.text("type") != "sampling_session":
            raise Refused(422, "target.type: must be sampling_session")
        sampler = state.sampler(target.text("sampling_session_id"))
        log = state.log(sampler, target.integer("cloned_sampler_id", 0, low=0))
        timeout = min(fields.number("timeout", state.poll_timeout, low=0), state.poll_timeout)
        done, cursor = log.after(fields.integer("prev_cursor", 0, low=0), timeout)
        completions = [
            {"request_id": p.request_id, "state": "failed" if isinstance(p.outcome, Failure) else "finished"}
            for p in done
        ]
        return {"completions": completions, "cursor": cursor}

    @blueprint.post("/cancel_future")
    def cancel_future() -> Any:
        promise = state.promises.get(body().text("request_id"))
        if promise.cancellable:
            promise.resolve(Failure("cancelled by the client", "user"))
        return {"type": "cancel_future", "request_id": promise.request_id}

    return blueprint
