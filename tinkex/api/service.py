"""The endpoints for the flags of a server and for sessions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tinkex.api.call import post, read, segment
from tinkex.api.futures import Promise, Result, json_result, submit
from tinkex.config import Config
from tinkex.errors import APIStatusError, NotFoundError, SessionEndedError, describe_body
from tinkex.http.transport import Transport
from tinkex.types.flags import (
    CreateSessionResponse,
    DynamicFlags,
    ServerFlags,
)

if TYPE_CHECKING:
    from tinkex.types.custom_loss import CustomLossGraph, CustomLossInput

PROTOCOL_VERSION = "0.38.0"
"""The version of the protocol. The hosted service refuses clients with an old one."""


def client_config(transport: Transport) -> ServerFlags:
    """Get the flags of the server, or the defaults if it has no such endpoint or answers null."""
    try:
        answer = post(transport, "/client/config", {"sdk_version": PROTOCOL_VERSION})
    except NotFoundError:
        return ServerFlags()
    return read(ServerFlags, {} if answer is None else answer)


def dynamic_config(transport: Transport) -> DynamicFlags:
    """Get the flags that may change, or the defaults if the server has no such endpoint or answers null."""
    try:
        answer = post(transport, "/client/dynamic_config", {"sdk_version": PROTOCOL_VERSION}, tries=1)
    except NotFoundError:
        return DynamicFlags()
    return read(DynamicFlags, {} if answer is None else answer)


def create_session(transport: Transport, config: Config) -> CreateSessionResponse:
    """Start a session with the tags, metadata, project and display name of ``config``."""
    payload: dict[str, Any] = {
        "type": "create_session",
        "tags": list(config.tags),
        "user_metadata": dict(config.user_metadata or {}),
        "sdk_version": PROTOCOL_VERSION,
    }
    if config.project_id is not None:
        payload["project_id"] = config.project_id
    if config.display_name is not None:
        payload["display_name"] = config.display_name
    return read(CreateSessionResponse, post(transport, "/create_session", payload))


def heartbeat(transport: Transport, session_id: str, timeout: float) -> None:
    """Tell the server that the session is in use, in one try of ``timeout`` seconds.

    Raises ``SessionEndedError`` if the answer means that the session has ended.
    """
    payload = {"type": "session_heartbeat", "session_id": session_id}
    try:
        post(transport, "/session_heartbeat", payload, timeout=timeout, tries=1)
    except APIStatusError as error:
        status = error.status_code
        refused_by_the_server = status < 500 and isinstance(error.body, dict)
        if status in _SESSION_OVER or (refused_by_the_server and status not in _SESSION_UNTOUCHED):
            raise SessionEndedError(
                f"session {session_id} has ended: {status} {describe_body(error.body)}", session_id, status
            ) from error
        raise


_SESSION_OVER = frozenset({401, 403, 404, 410})
"""Statuses of a heartbeat that mean that the session cannot be used any more, even if a proxy answers so."""
_SESSION_UNTOUCHED = frozenset({402, 408, 409, 429})
"""Other 4xx statuses of a heartbeat that do not mean that the session has ended."""


def finish_session(
    transport: Transport, session_id: str, status: str, detail: str | None, timeout: float, tries: int
) -> None:
    """End a session. A server without this endpoint (404) ends the session when its heartbeats stop."""
    payload: dict[str, Any] = {"reason": {"type": status}}
    if detail is not None:
        payload["detail"] = detail
    try:
        post(transport, f"/sessions/{segment(session_id)}/finish", payload, timeout=timeout, tries=tries)
    except NotFoundError:
        pass


def create_custom_loss(
    transport: Transport,
    session_id: str,
    custom_loss_seq_id: int,
    name: str,
    inputs: Sequence[CustomLossInput],
    graph: CustomLossGraph,
) -> Promise[str]:
    """Store a traced loss in a session; the result is its ``loss_id``."""
    payload: dict[str, Any] = {
        "type": "create_custom_loss",
        "session_id": session_id,
        "custom_loss_seq_id": custom_loss_seq_id,
        "name": name,
        "inputs": [asdict(given) for given in inputs],
        "graph": asdict(graph),
    }
    return submit(transport, "/create_custom_loss", payload, "CreateCustomLoss", _read_loss_id)


def _read_loss_id(result: Result) -> str:
    from tinkex.types.custom_loss import CreateCustomLossResponse

    return read(CreateCustomLossResponse, json_result(result, "create_custom_loss")).loss_id
