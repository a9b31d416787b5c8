"""``RestClient``: training runs, checkpoints and sessions, without a session of one's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tinkex.admin_client import AdminClient
from tinkex.api import identity, info
from tinkex.api import rest as api
from tinkex.concurrency.futures import APIFuture, awaited
from tinkex.download import checkpoint as download
from tinkex.download.fetch import Fetcher
from tinkex.download.progress import Progress, Tracker
from tinkex.errors import APITimeoutError, InputError
from tinkex.http.transport import Transport
from tinkex.rest import paging
from tinkex.types.checks import tinker_path as check_path
from tinkex.types.checks import whole
from tinkex.types.rest import (
    AccessScope,
    Checkpoint,
    CheckpointsListResponse,
    ExternalWeightsUrlsResponse,
    GetSessionResponse,
    ListSessionsResponse,
    ParsedCheckpointTinkerPath,
    TrainingRun,
    TrainingRunsResponse,
    WhoamiResponse,
)
from tinkex.types.server import GetSamplerResponse, GetServerCapabilitiesResponse, WeightsInfoResponse
from tinkex.types.session_search import SessionSearchRequest, SessionSearchResponse

PAGE = 100
MAX_DOWNLOAD = 256 << 30
TRACE_PAUSE = 5.0
TRACE_SECONDS = 3600.0


class RestClient(AdminClient):
    """Lists, inspects, publishes, expires, deletes and downloads what is on the server.

    Made by ``ServiceClient.create_rest_client``, or alone: ``RestClient(base_url=..., api_key=...)`` starts
    no session. Each call returns an ``APIFuture`` at once, which raises ``APIStatusError`` or
    ``APIConnectionError``; bad input raises ``InputError`` before anything is sent. Each has an ``_async``
    twin to be awaited. ``tinker_path`` is ``tinker://run/kind/name`` throughout. Safe to use from many
    threads.
    """

    def get_server_capabilities(self) -> APIFuture[GetServerCapabilitiesResponse]:
        """The models on offer."""
        return self._start(info.get_server_capabilities)

    get_server_capabilities_async = awaited(get_server_capabilities)

    def whoami(self) -> APIFuture[WhoamiResponse]:
        """Who the API key belongs to; raises ``NotFoundError`` on a server that does not tell."""
        return self._start(identity.whoami, self.config)

    whoami_async = awaited(whoami)

    def get_training_run(
        self, training_run_id: str, access_scope: AccessScope = "owned"
    ) -> APIFuture[TrainingRun]:
        """One training run."""
        return self._start(api.get_training_run, training_run_id, access_scope)

    get_training_run_async = awaited(get_training_run)

    def get_training_run_by_tinker_path(
        self, tinker_path: str, access_scope: AccessScope = "owned"
    ) -> APIFuture[TrainingRun]:
        """The training run that a checkpoint came from."""
        return self.get_training_run(_parse(tinker_path).training_run_id, access_scope)

    get_training_run_by_tinker_path_async = awaited(get_training_run_by_tinker_path)

    def list_training_runs(
        self,
        limit: int = 20,
        offset: int = 0,
        access_scope: AccessScope = "owned",
        project_id: str | None = None,
    ) -> APIFuture[TrainingRunsResponse]:
        """A page of training runs, of one project or of all."""
        _check_page(limit, offset)
        return self._start(api.list_training_runs, limit, offset, access_scope, project_id)

    list_training_runs_async = awaited(list_training_runs)

    def iter_training_runs(
        self, access_scope: AccessScope = "owned", project_id: str | None = None, *, page_size: int = PAGE
    ) -> Iterator[TrainingRun]:
        """All training runs; the next page is on its way while one is read."""

        def fetch(offset: int) -> APIFuture[TrainingRunsResponse]:
            return self.list_training_runs(page_size, offset, access_scope, project_id)

        return paging.iterate(
            fetch,
            lambda page: page.training_runs,
            lambda run: run.training_run_id,
            lambda page: page.cursor.total_count,
        )

    def get_weights_info_by_tinker_path(self, tinker_path: str) -> APIFuture[WeightsInfoResponse]:
        """How the model of a checkpoint was made."""
        check_path("tinker_path", tinker_path)
        return self._start(info.weights_info, tinker_path)

    get_weights_info_by_tinker_path_async = awaited(get_weights_info_by_tinker_path)

    def list_checkpoints(self, training_run_id: str) -> APIFuture[CheckpointsListResponse]:
        """All checkpoints of a training run."""
        return self._start(api.list_checkpoints, training_run_id)

    list_checkpoints_async = awaited(list_checkpoints)

    def list_user_checkpoints(self, limit: int = 100, offset: int = 0) -> APIFuture[CheckpointsListResponse]:
        """A page of the caller's checkpoints over all training runs."""
        _check_page(limit, offset)
        return self._start(api.list_user_checkpoints, limit, offset)

    list_user_checkpoints_async = awaited(list_user_checkpoints)

    def iter_checkpoints(self, *, page_size: int = PAGE) -> Iterator[Checkpoint]:
        """All checkpoints of the caller; the next page is on its way while one is read."""
        return paging.iterate(
            lambda offset: self.list_user_checkpoints(page_size, offset),
            lambda page: page.checkpoints,
            lambda checkpoint: checkpoint.tinker_path,
            lambda page: None if page.cursor is None else page.cursor.total_count,
        )

    def delete_checkpoint(self, training_run_id: str, checkpoint_id: str) -> APIFuture[None]:
        """Delete a checkpoint for good; ``checkpoint_id`` as it is listed, ``weights/name``."""
        return self._start(api.delete_checkpoint, training_run_id, checkpoint_id)

    delete_checkpoint_async = awaited(delete_checkpoint)

    def delete_checkpoint_from_tinker_path(self, tinker_path: str) -> APIFuture[None]:
        """Delete a checkpoint for good."""
        path = _parse(tinker_path)
        return self.delete_checkpoint(path.training_run_id, path.checkpoint_id)

    delete_checkpoint_from_tinker_path_async = awaited(delete_checkpoint_from_tinker_path)

    def publish_checkpoint_from_tinker_path(self, tinker_path: str) -> APIFuture[None]:
        """Let everybody read a checkpoint."""
        path = _parse(tinker_path)
        return self._start(api.set_published, path.training_run_id, path.checkpoint_id, True)

    publish_checkpoint_from_tinker_path_async = awaited(publish_checkpoint_from_tinker_path)

    def unpublish_checkpoint_from_tinker_path(self, tinker_path: str) -> APIFuture[None]:
        """Let only its owner read a checkpoint again."""
        path = _parse(tinker_path)
        return self._start(api.set_published, path.training_run_id, path.checkpoint_id, False)

    unpublish_checkpoint_from_tinker_path_async = awaited(unpublish_checkpoint_from_tinker_path)

    def set_checkpoint_ttl_from_tinker_path(
        self, tinker_path: str, ttl_seconds: int | None
    ) -> APIFuture[None]:
        """Let a checkpoint expire ``ttl_seconds`` (3600 to ten years) from now; None keeps it."""
        path = _parse(tinker_path)
        _check_ttl(ttl_seconds)
        return self._start(api.set_ttl, path.training_run_id, path.checkpoint_id, ttl_seconds)

    set_checkpoint_ttl_from_tinker_path_async = awaited(set_checkpoint_ttl_from_tinker_path)

    def copy_weights(
        self,
        path: str,
        destination_project_id: str | None = None,
        *,
        ttl_seconds: int | None = None,
        weights_access_token: str | None = None,
    ) -> APIFuture[str]:
        """Copy a checkpoint into a project (the config's by default); the path of the copy.

        ``weights_access_token`` opens a checkpoint of another account.
        """
        check_path("path", path)
        project = destination_project_id or self.config.project_id
        if project is None:
            raise InputError("give destination_project_id or set TINKER_PROJECT_ID")
        _check_ttl(ttl_seconds)
        return self._start(api.copy_weights, path, project, ttl_seconds, weights_access_token)

    copy_weights_async = awaited(copy_weights)

    def get_external_weights_urls(self, tinker_path: str) -> APIFuture[ExternalWeightsUrlsResponse]:
        """Signed URLs of the files of a checkpoint. They need no key, so treat them as secrets."""
        path = _parse(tinker_path)
        return self._start(api.external_weights_urls, path.training_run_id, path.checkpoint_id)

    get_external_weights_urls_async = awaited(get_external_weights_urls)

    def download_checkpoint(
        self,
        tinker_path: str,
        directory: str | os.PathLike[str],
        progress: Progress | None = None,
        *,
        overwrite: bool = False,
        max_bytes: int = MAX_DOWNLOAD,
    ) -> APIFuture[Path]:
        """Bring the files of a checkpoint into ``directory``, which is made; the future of its path.

        The folder appears, whole, when all is there and checked; nothing is left if anything fails or the
        future is cancelled. A folder that is there must be empty, unless ``overwrite`` replaces it.
        ``progress(done, total)`` is called on other threads, one call at a time, in bytes; ``total`` is None
        until it is known, and what it raises ends the download. Broken connections are resumed; memory is
        constant. An archive is unpacked, and refused if an entry is no plain file inside the folder.

        The future raises ``UnsafeDownloadError`` for that and beyond ``max_bytes`` (256 GiB),
        ``APIStatusError``, ``APIConnectionError``, ``APIResponseValidationError`` if a digest does not match,
        and ``OSError``, as when the disk is full.
        """
        path = _parse(tinker_path)
        target = Path(os.path.abspath(directory))
        whole("max_bytes", max_bytes, at_least=1)
        download.check_target(target, overwrite)
        future: APIFuture[Path] = APIFuture()
        fetcher = Fetcher(self.config)
        tracker = Tracker(self._transport, lambda: self._closed or future.cancelled(), progress, max_bytes)
        future.on_cancel = fetcher.close
        self._fetchers.add(fetcher)

        def work() -> Path:
            try:
                return download.download(self._transport, fetcher, path, target, tracker, overwrite)
            except Exception:
                self._check()  # closing is the reason for whatever it broke
                raise
            finally:
                fetcher.close()

        self._run(future, work)
        return future

    download_checkpoint_async = awaited(download_checkpoint)

    def list_sessions(
        self, limit: int = 20, offset: int = 0, access_scope: AccessScope = "owned"
    ) -> APIFuture[ListSessionsResponse]:
        """A page of session ids."""
        _check_page(limit, offset)
        return self._start(api.list_sessions, limit, offset, access_scope)

    list_sessions_async = awaited(list_sessions)

    def iter_sessions(self, access_scope: AccessScope = "owned", *, page_size: int = PAGE) -> Iterator[str]:
        """All session ids; the next page is on its way while one is read."""
        return paging.iterate(
            lambda offset: self.list_sessions(page_size, offset, access_scope),
            lambda page: page.sessions,
            lambda session_id: session_id,
        )

    def get_session(
        self, session_id: str, access_scope: AccessScope = "owned"
    ) -> APIFuture[GetSessionResponse]:
        """The training runs and samplers of a session."""
        return self._start(api.get_session, session_id, access_scope)

    get_session_async = awaited(get_session)

    def search_sessions(self, request: SessionSearchRequest) -> APIFuture[SessionSearchResponse]:
        """A page of the sessions that match, newest first; ``next_cursor`` leads to the next."""
        return self._start(api.search_sessions, request)

    search_sessions_async = awaited(search_sessions)

    def assign_session_project(self, session_id: str, project_id: str) -> APIFuture[None]:
        """Move a session, with what belongs to it, into a project."""
        if not isinstance(project_id, str) or not project_id:
            raise InputError(f"project_id must be the id of a project, not {project_id!r}")
        return self._start(api.assign_session_project, session_id, project_id)

    assign_session_project_async = awaited(assign_session_project)

    def export_session_trace(self, session_id: str) -> APIFuture[str]:
        """A signed URL of a session's timeline, as a Perfetto trace, once the server has made it.

        Raises ``RequestFailedError`` if it could not, ``APITimeoutError`` after an hour.
        """
        future: APIFuture[str] = APIFuture()
        self._run(future, partial(_export_trace, self._transport, session_id, future))
        return future

    export_session_trace_async = awaited(export_session_trace)

    def get_sampler(self, sampler_id: str) -> APIFuture[GetSamplerResponse]:
        """What a sampling session samples from."""
        return self._start(info.get_sampler, sampler_id)

    get_sampler_async = awaited(get_sampler)


def _export_trace(transport: Transport, session_id: str, future: APIFuture[str]) -> str:
    for _ in range(int(TRACE_SECONDS / TRACE_PAUSE)):
        url = api.trace_export_url(transport, session_id)
        if url is not None or future.cancelled():
            return url or ""
        transport.wait(TRACE_PAUSE)
    raise APITimeoutError(f"the trace of session {session_id} was not made within {TRACE_SECONDS:g} s")


def _parse(tinker_path: str) -> ParsedCheckpointTinkerPath:
    return ParsedCheckpointTinkerPath.from_tinker_path(tinker_path)


def _check_page(limit: int, offset: int) -> None:
    whole("limit", limit, at_least=1)
    whole("offset", offset, at_least=0)


def _check_ttl(ttl_seconds: int | None) -> None:
    if ttl_seconds is not None:
        whole("ttl_seconds", ttl_seconds, at_least=1)
