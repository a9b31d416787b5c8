"""The endpoints for training runs, checkpoints and sessions."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any
from urllib.parse import urljoin, urlsplit

from tinkex.api.call import get, post, read, segment, send
from tinkex.errors import APIResponseValidationError, NotFoundError, RequestFailedError
from tinkex.http.retry import seconds_until
from tinkex.http.transport import Transport
from tinkex.types.rest import (
    CheckpointArchiveUrlResponse,
    CheckpointsListResponse,
    CopyWeightsResponse,
    ExternalWeightsUrlsResponse,
    GetSessionResponse,
    ListSessionsResponse,
    TraceExportResponse,
    TrainingRun,
    TrainingRunsResponse,
)
from tinkex.types.session_search import SessionSearchRequest, SessionSearchResponse
from tinkex.wire.validation import decode


def list_training_runs(
    transport: Transport, limit: int, offset: int, access_scope: str, project_id: str | None
) -> TrainingRunsResponse:
    """Get a page of training runs."""
    query = {"limit": limit, "offset": offset, "access_scope": access_scope, "project_id": project_id}
    return read(TrainingRunsResponse, get(transport, "/training_runs", **query))


def get_training_run(transport: Transport, run: str, access_scope: str) -> TrainingRun:
    """Get one training run."""
    return read(TrainingRun, get(transport, f"/training_runs/{segment(run)}", access_scope=access_scope))


def list_checkpoints(transport: Transport, run: str) -> CheckpointsListResponse:
    """Get all checkpoints of a training run."""
    return read(CheckpointsListResponse, get(transport, f"/training_runs/{segment(run)}/checkpoints"))


def list_user_checkpoints(transport: Transport, limit: int, offset: int) -> CheckpointsListResponse:
    """Get a page of the caller's checkpoints over all training runs."""
    return read(CheckpointsListResponse, get(transport, "/checkpoints", limit=limit, offset=offset))


def delete_checkpoint(transport: Transport, run: str, checkpoint_id: str) -> None:
    """Delete a checkpoint for good.

    If a repeated try is answered with 404, an earlier try has deleted the checkpoint, which is no error.
    """
    try:
        send(transport, "DELETE", checkpoint(run, checkpoint_id))
    except NotFoundError as error:
        if not error.repeated:
            raise


def publish(transport: Transport, run: str, checkpoint_id: str) -> None:
    """Let everybody read a checkpoint."""
    send(transport, "POST", checkpoint(run, checkpoint_id) + "/publish")


def unpublish(transport: Transport, run: str, checkpoint_id: str) -> None:
    """Let only its owner read a checkpoint again."""
    send(transport, "DELETE", checkpoint(run, checkpoint_id) + "/publish")


def set_ttl(transport: Transport, run: str, checkpoint_id: str, ttl_seconds: int | None) -> None:
    """Let a checkpoint expire ``ttl_seconds`` from now, or never if that is None."""
    send(transport, "PUT", checkpoint(run, checkpoint_id) + "/ttl", {"ttl_seconds": ttl_seconds})


def external_weights_urls(transport: Transport, run: str, checkpoint_id: str) -> ExternalWeightsUrlsResponse:
    """Get the signed URLs of the files of a checkpoint."""
    path = checkpoint(run, checkpoint_id) + "/external_weights_urls"
    return read(ExternalWeightsUrlsResponse, get(transport, path))


def archive_url(transport: Transport, run: str, checkpoint_id: str) -> CheckpointArchiveUrlResponse:
    """Get the signed URL of a checkpoint as one archive, which lasts for 15 minutes if the server does not say more.

    Raises ``InternalServerError`` with status 503 while the server still makes the archive. If the server sends
    the archive itself, its answer is not read, and ``APIResponseValidationError`` is raised.
    """
    path = checkpoint(run, checkpoint_id) + "/archive"
    answer = transport.request("GET", path, final=(503,), expected=_REDIRECTS, limit=0)
    if answer.status not in _REDIRECTS:
        raise APIResponseValidationError(
            f"the server answered {answer.status} instead of a redirect to the archive",
            method="GET",
            url=path,
        )
    location = answer.headers.get("Location")
    if location is not None and transport.contains_key(location):
        raise APIResponseValidationError(
            "the link to the archive contains the API key, and would give it to another host", url=path
        )
    asked = f"{transport.base_url}/api/v1{path}"
    url = decode("link to an archive", partial(_absolute, asked), location)
    seconds = seconds_until(answer.headers.get("Expires"))
    expires = datetime.now(timezone.utc) + timedelta(seconds=_ARCHIVE_LASTS if seconds is None else seconds)
    return CheckpointArchiveUrlResponse(url, expires)


def _absolute(asked: str, location: str | None) -> str:
    """Return where a redirect leads; raises ``ValueError`` if ``location`` is not a URL."""
    url = urljoin(asked, location or "")
    if not location or urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise ValueError("it leads to no web server")
    return url


def copy_weights(
    transport: Transport, source: str, project: str, ttl_seconds: int | None, access_token: str | None
) -> str:
    """Copy a checkpoint into a project; return the path of the copy."""
    payload: dict[str, Any] = {"source_path": source, "destination_project_id": project}
    if ttl_seconds is not None:
        payload["ttl_seconds"] = ttl_seconds
    headers = {} if access_token is None else {"X-Tinker-Weights-Access-Token": access_token}
    return read(CopyWeightsResponse, post(transport, "/copy_weights", payload, headers=headers)).tinker_path


def list_sessions(transport: Transport, limit: int, offset: int, access_scope: str) -> ListSessionsResponse:
    """Get a page of session ids."""
    query = {"limit": limit, "offset": offset, "access_scope": access_scope}
    return read(ListSessionsResponse, get(transport, "/sessions", **query))


def get_session(transport: Transport, session_id: str, access_scope: str) -> GetSessionResponse:
    """Get the training runs and samplers of a session."""
    answer = get(transport, f"/sessions/{segment(session_id)}", access_scope=access_scope)
    return read(GetSessionResponse, answer)


def search_sessions(transport: Transport, request: SessionSearchRequest) -> SessionSearchResponse:
    """Get a page of the sessions that match."""
    return read(SessionSearchResponse, post(transport, "/sessions/search", request.to_wire()))


def assign_session_project(transport: Transport, session_id: str, project_id: str) -> None:
    """Move a session into a project."""
    send(transport, "PUT", f"/sessions/{segment(session_id)}/project", {"project_id": project_id})


def trace_export_url(transport: Transport, session_id: str) -> str | None:
    """Get the signed URL of a session's trace, or None while the server still makes it.

    Raises ``RequestFailedError`` if the server could not make the trace.
    """
    export = read(TraceExportResponse, get(transport, f"/sessions/{segment(session_id)}/trace_export"))
    if export.status == "failed":
        raise RequestFailedError(
            f"the trace of session {session_id} could not be made: {export.error}", session_id, "server"
        )
    if export.status == "ready" and export.url is not None:
        return export.url
    if export.status != "pending":
        raise APIResponseValidationError(f"a trace export cannot be {export.status!r} without a url")
    return None


def checkpoint(run: str, checkpoint_id: str) -> str:
    """Return the URL path of a checkpoint. ``checkpoint_id`` is ``kind/name``, on some servers ``name``."""
    parts = str(checkpoint_id).split("/")
    return f"/training_runs/{segment(run)}/checkpoints/" + "/".join(segment(part) for part in parts)


_REDIRECTS = (301, 302, 303, 307, 308)
_ARCHIVE_LASTS = 15 * 60.0
