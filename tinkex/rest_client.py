"""``RestClient``: training runs, checkpoints and sessions, without a session of one's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tinkex.admin_client import AdminClient
from tinkex.api import identity, info
from tinkex.api import rest as api
from tinkex.concurrency.futures import APIFuture
from tinkex.concurrency.twins import awaited
from tinkex.download import checkpoint as download
from tinkex.download.fetch import Fetcher
from tinkex.download.links import wait_for_archive
from tinkex.download.progress import Progress, Tracker
from tinkex.errors import APITimeoutError, InputError
from tinkex.http.transport import Transport
from tinkex.observability.caller_warnings import warn_caller
from tinkex.rest import paging
from tinkex.types.checks import tinker_path as check_path
from tinkex.types.checks import whole
from tinkex.types.rest import (
    AccessScope,
    Checkpoint,
    CheckpointArchiveUrlResponse,
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
_NO_ARCHIVE_URL = "newer servers offer no archive URLs; use download_checkpoint"


class RestClient(AdminClient):
    """Lists, inspects, publishes, expires, deletes and downloads what is on the server.

    Made by ``ServiceClient.create_rest_client``, or alone: ``RestClient(base_url=..., api_key=...)`` starts
    no session. Each call returns an ``APIFuture`` at once, which raises ``APIStatusError`` or
    ``APIConnectionError``; bad input raises ``InputError`` before anything is sent. Each has an ``_async``
    twin, a coroutine of the result with the same arguments. ``tinker_path`` is ``tinker://run/kind/name``
    throughout; ``access_scope`` is ``owned`` for what belongs to the caller and ``accessible`` for all that
    the caller may read. Safe to use from many threads.

    Example::

        with tinkex.RestClient(base_url="local://") as rest:
            futures = [rest.list_training_runs(limit=5), rest.list_user_checkpoints(limit=5)]  # both at once
            runs, checkpoints = (future.result(timeout=60) for future in futures)
            print(runs.cursor.total_count, [checkpoint.tinker_path for checkpoint in checkpoints.checkpoints])
    """

    def get_server_capabilities(self) -> APIFuture[GetServerCapabilitiesResponse]:
        """List the models on offer, with the longest context of each in tokens."""
        return self._start(info.get_server_capabilities)

    @awaited(get_server_capabilities)
    async def get_server_capabilities_async(self) -> None:
        """A coroutine that returns the models on offer."""

    def whoami(self) -> APIFuture[WhoamiResponse]:
        """Ask who the API key belongs to. Raises ``NotFoundError`` on a server that does not tell."""
        return self._start(identity.whoami, self.config)

    @awaited(whoami)
    async def whoami_async(self) -> None:
        """A coroutine that returns whom the API key belongs to."""

    def get_training_run(
        self, training_run_id: str, access_scope: AccessScope = "owned"
    ) -> APIFuture[TrainingRun]:
        """Get one training run. Raises ``NotFoundError`` if there is none of this id."""
        return self._start(api.get_training_run, training_run_id, access_scope)

    @awaited(get_training_run)
    async def get_training_run_async(self) -> None:
        """A coroutine that returns the training run."""

    def get_training_run_by_tinker_path(
        self, tinker_path: str, access_scope: AccessScope = "owned"
    ) -> APIFuture[TrainingRun]:
        """Get the training run that a checkpoint came from."""
        return self.get_training_run(_parse(tinker_path).training_run_id, access_scope)

    @awaited(get_training_run_by_tinker_path)
    async def get_training_run_by_tinker_path_async(self) -> None:
        """A coroutine that returns the training run that the checkpoint came from."""

    def list_training_runs(
        self,
        limit: int = 20,
        offset: int = 0,
        access_scope: AccessScope = "owned",
        project_id: str | None = None,
    ) -> APIFuture[TrainingRunsResponse]:
        """List a page of training runs, of one project or of all projects.

        The page has at most ``limit`` runs from position ``offset`` on; ``cursor.total_count`` is how many
        there are. ``iter_training_runs`` goes through all pages.
        """
        _check_page(limit, offset)
        return self._start(api.list_training_runs, limit, offset, access_scope, project_id)

    @awaited(list_training_runs)
    async def list_training_runs_async(self) -> None:
        """A coroutine that returns the page of training runs."""

    def iter_training_runs(
        self, access_scope: AccessScope = "owned", project_id: str | None = None, *, page_size: int = PAGE
    ) -> Iterator[TrainingRun]:
        """Iterate over all training runs; the next page is on its way while one is read.

        ``page_size`` is how many runs one request asks for. The iterator raises what
        ``list_training_runs`` would.

        Example::

            with tinkex.RestClient(base_url="local://") as rest:
                for run in rest.iter_training_runs():
                    print(run.training_run_id, run.base_model, run.last_request_time)
        """

        def fetch(offset: int) -> APIFuture[TrainingRunsResponse]:
            return self.list_training_runs(page_size, offset, access_scope, project_id)

        return paging.iterate(
            fetch,
            lambda page: page.training_runs,
            lambda run: run.training_run_id,
            lambda page: page.cursor.total_count,
        )

    def get_weights_info_by_tinker_path(self, tinker_path: str) -> APIFuture[WeightsInfoResponse]:
        """Ask how the model of a checkpoint was made: its base model, LoRA rank and trained layers."""
        check_path("tinker_path", tinker_path)
        return self._start(info.weights_info, tinker_path)

    @awaited(get_weights_info_by_tinker_path)
    async def get_weights_info_by_tinker_path_async(self) -> None:
        """A coroutine that returns how the model of the checkpoint was made."""

    def list_checkpoints(self, training_run_id: str) -> APIFuture[CheckpointsListResponse]:
        """List all checkpoints of a training run."""
        return self._start(api.list_checkpoints, training_run_id)

    @awaited(list_checkpoints)
    async def list_checkpoints_async(self) -> None:
        """A coroutine that returns all checkpoints of the training run."""

    def list_user_checkpoints(self, limit: int = 100, offset: int = 0) -> APIFuture[CheckpointsListResponse]:
        """List a page of the caller's checkpoints over all training runs.

        The page has at most ``limit`` checkpoints from position ``offset`` on. ``iter_checkpoints`` goes
        through all pages.
        """
        _check_page(limit, offset)
        return self._start(api.list_user_checkpoints, limit, offset)

    @awaited(list_user_checkpoints)
    async def list_user_checkpoints_async(self) -> None:
        """A coroutine that returns the page of the caller's checkpoints."""

    def iter_checkpoints(self, *, page_size: int = PAGE) -> Iterator[Checkpoint]:
        """Iterate over all checkpoints of the caller; the next page is on its way while one is read.

        ``page_size`` is how many checkpoints one request asks for. The iterator raises what
        ``list_user_checkpoints`` would.

        Example::

            with tinkex.RestClient(base_url="local://") as rest:
                total = sum(checkpoint.size_bytes or 0 for checkpoint in rest.iter_checkpoints())
                print(f"{total / 1e9:.3f} GB")
        """
        return paging.iterate(
            lambda offset: self.list_user_checkpoints(page_size, offset),
            lambda page: page.checkpoints,
            lambda checkpoint: checkpoint.tinker_path,
            lambda page: None if page.cursor is None else page.cursor.total_count,
        )

    def delete_checkpoint(self, training_run_id: str, checkpoint_id: str) -> APIFuture[None]:
        """Delete a checkpoint for good. ``checkpoint_id`` is as in the lists: ``weights/name``."""
        return self._start(api.delete_checkpoint, training_run_id, checkpoint_id)

    @awaited(delete_checkpoint)
    async def delete_checkpoint_async(self) -> None:
        """A coroutine that returns None once the checkpoint is deleted."""

    def delete_checkpoint_from_tinker_path(self, tinker_path: str) -> APIFuture[None]:
        """Delete a checkpoint for good.

        Example::

            with tinkex.ServiceClient(base_url="local://") as service:
                training = service.create_lora_training_client("tinkex/byte-lm")
                path = training.save_state("not-needed").result().path
                service.create_rest_client().delete_checkpoint_from_tinker_path(path).result()
        """
        path = _parse(tinker_path)
        return self.delete_checkpoint(path.training_run_id, path.checkpoint_id)

    @awaited(delete_checkpoint_from_tinker_path)
    async def delete_checkpoint_from_tinker_path_async(self) -> None:
        """A coroutine that returns None once the checkpoint is deleted."""

    def publish_checkpoint_from_tinker_path(self, tinker_path: str) -> APIFuture[None]:
        """Let everybody read a checkpoint."""
        path = _parse(tinker_path)
        return self._start(api.publish, path.training_run_id, path.checkpoint_id)

    @awaited(publish_checkpoint_from_tinker_path)
    async def publish_checkpoint_from_tinker_path_async(self) -> None:
        """A coroutine that returns None once everybody may read the checkpoint."""

    def unpublish_checkpoint_from_tinker_path(self, tinker_path: str) -> APIFuture[None]:
        """Let only its owner read a checkpoint again."""
        path = _parse(tinker_path)
        return self._start(api.unpublish, path.training_run_id, path.checkpoint_id)

    @awaited(unpublish_checkpoint_from_tinker_path)
    async def unpublish_checkpoint_from_tinker_path_async(self) -> None:
        """A coroutine that returns None once only its owner may read the checkpoint."""

    def set_checkpoint_ttl_from_tinker_path(
        self, tinker_path: str, ttl_seconds: int | None
    ) -> APIFuture[None]:
        """Let a checkpoint expire ``ttl_seconds`` from now (3600, an hour, to ten years); None keeps it.

        Example::

            with tinkex.ServiceClient(base_url="local://") as service:
                training = service.create_lora_training_client("tinkex/byte-lm")
                path = training.save_state("for-a-week").result().path
                rest = service.create_rest_client()
                rest.set_checkpoint_ttl_from_tinker_path(path, 7 * 24 * 3600).result()
        """
        path = _parse(tinker_path)
        _check_ttl(ttl_seconds)
        return self._start(api.set_ttl, path.training_run_id, path.checkpoint_id, ttl_seconds)

    @awaited(set_checkpoint_ttl_from_tinker_path)
    async def set_checkpoint_ttl_from_tinker_path_async(self) -> None:
        """A coroutine that returns None once the expiry is set."""

    def copy_weights(
        self,
        path: str,
        destination_project_id: str | None = None,
        *,
        ttl_seconds: int | None = None,
        weights_access_token: str | None = None,
    ) -> APIFuture[str]:
        """Copy a checkpoint into a project; the future gives the path of the copy.

        The project is that of the client's ``Config`` by default. The copy is kept for ``ttl_seconds``, by
        default for ever; ``weights_access_token`` opens a checkpoint of another account.
        """
        check_path("path", path)
        project = destination_project_id or self.config.project_id
        if project is None:
            raise InputError("give destination_project_id or set TINKER_PROJECT_ID")
        _check_ttl(ttl_seconds)
        return self._start(api.copy_weights, path, project, ttl_seconds, weights_access_token)

    @awaited(copy_weights)
    async def copy_weights_async(self) -> None:
        """A coroutine that returns the path of the copy."""

    def get_external_weights_urls(self, tinker_path: str) -> APIFuture[ExternalWeightsUrlsResponse]:
        """Get signed URLs of the files of a checkpoint. They need no key, so treat them as secrets."""
        path = _parse(tinker_path)
        return self._start(api.external_weights_urls, path.training_run_id, path.checkpoint_id)

    @awaited(get_external_weights_urls)
    async def get_external_weights_urls_async(self) -> None:
        """A coroutine that returns the signed URLs of the checkpoint's files."""

    def get_checkpoint_archive_url(
        self, training_run_id: str, checkpoint_id: str
    ) -> APIFuture[CheckpointArchiveUrlResponse]:
        """Get the signed URL of a checkpoint as one archive, once the server has made it.

        Deprecated: newer servers refuse it. ``download_checkpoint`` works on all of them.
        """
        warn_caller(_NO_ARCHIVE_URL, DeprecationWarning)
        return self._start(wait_for_archive, training_run_id, checkpoint_id, self._transport.wait)

    @awaited(get_checkpoint_archive_url)
    async def get_checkpoint_archive_url_async(self) -> None:
        """A coroutine that returns the signed URL of a checkpoint as one archive. Deprecated."""

    def get_checkpoint_archive_url_from_tinker_path(
        self, tinker_path: str
    ) -> APIFuture[CheckpointArchiveUrlResponse]:
        """Get the signed URL of the checkpoint at ``tinker_path``; otherwise as ``get_checkpoint_archive_url``."""
        path = _parse(tinker_path)
        return self.get_checkpoint_archive_url(path.training_run_id, path.checkpoint_id)

    @awaited(get_checkpoint_archive_url_from_tinker_path)
    async def get_checkpoint_archive_url_from_tinker_path_async(self) -> None:
        """A coroutine that returns the signed URL of the checkpoint at ``tinker_path``. Deprecated."""

    def download_checkpoint(
        self,
        tinker_path: str,
        directory: str | os.PathLike[str],
        progress: Progress | None = None,
        *,
        overwrite: bool = False,
        max_bytes: int = MAX_DOWNLOAD,
    ) -> APIFuture[Path]:
        """Download a checkpoint into a new folder ``directory``; the future gives the path of the folder.

        The folder appears only when all files are complete and checked. If the download fails or the
        future is cancelled, nothing is left behind. A folder that already exists must be empty,
        unless ``overwrite`` allows replacing it. ``progress(done, total)`` is called with numbers of
        bytes, on other threads, one call at a time; ``total`` is None until it is known. An error
        that ``progress`` raises ends the download. After a broken connection the download is resumed.
        Memory use does not grow with the size of the files. An archive is unpacked.

        The future raises ``UnsafeDownloadError`` if an archive has an entry that is not a plain file
        inside the folder, or if the files have more than ``max_bytes`` bytes (default: 256 GiB);
        ``APIResponseValidationError`` if a digest does not match; ``APIStatusError`` or
        ``APIConnectionError`` if the server refuses or cannot be reached; and ``OSError``, for
        example if the disk is full.

        Example::

            with tinkex.ServiceClient(base_url="local://") as service:
                training = service.create_lora_training_client("tinkex/byte-lm")
                path = training.save_weights_for_sampler("to-take-home").result().path
                folder = service.create_rest_client().download_checkpoint(path, "weights").result()
                print(sorted(file.name for file in folder.iterdir()))
        """
        path = _parse(tinker_path)
        target = Path(os.path.abspath(directory))
        whole("max_bytes", max_bytes, at_least=1)
        download.check_target(target, overwrite=overwrite)
        future: APIFuture[Path] = APIFuture()
        fetcher = Fetcher(self.config)
        tracker = Tracker(self._transport, lambda: self._closed or future.cancelled(), progress, max_bytes)
        future.on_cancel = fetcher.close
        self._fetchers.add(fetcher)

        def work() -> Path:
            try:
                return download.download(self._transport, fetcher, path, target, tracker, overwrite=overwrite)
            except Exception:
                self._check()  # if the client was closed, that is the error to raise
                raise
            finally:
                fetcher.close()

        self._run(future, work)
        return future

    @awaited(download_checkpoint)
    async def download_checkpoint_async(self) -> None:
        """A coroutine that returns the folder once the download is complete."""

    def list_sessions(
        self, limit: int = 20, offset: int = 0, access_scope: AccessScope = "owned"
    ) -> APIFuture[ListSessionsResponse]:
        """List a page of session ids: at most ``limit`` from position ``offset`` on."""
        _check_page(limit, offset)
        return self._start(api.list_sessions, limit, offset, access_scope)

    @awaited(list_sessions)
    async def list_sessions_async(self) -> None:
        """A coroutine that returns the page of session ids."""

    def iter_sessions(self, access_scope: AccessScope = "owned", *, page_size: int = PAGE) -> Iterator[str]:
        """Iterate over all session ids; the next page is on its way while one is read."""
        return paging.iterate(
            lambda offset: self.list_sessions(page_size, offset, access_scope),
            lambda page: page.sessions,
            lambda session_id: session_id,
        )

    def get_session(
        self, session_id: str, access_scope: AccessScope = "owned"
    ) -> APIFuture[GetSessionResponse]:
        """Get the ids of the training runs and samplers of a session."""
        return self._start(api.get_session, session_id, access_scope)

    @awaited(get_session)
    async def get_session_async(self) -> None:
        """A coroutine that returns the training runs and samplers of the session."""

    def search_sessions(self, request: SessionSearchRequest) -> APIFuture[SessionSearchResponse]:
        """List a page of the sessions that match, newest first; ``next_cursor`` leads to the next page.

        Example::

            with tinkex.RestClient(base_url="local://") as rest:
                request = types.SessionSearchRequest(limit=10)
                while True:
                    page = rest.search_sessions(request).result()
                    for session in page.sessions:
                        print(session.session_id)
                    if page.next_cursor is None:
                        break
                    request = types.SessionSearchRequest(limit=10, cursor=page.next_cursor)
        """
        return self._start(api.search_sessions, request)

    @awaited(search_sessions)
    async def search_sessions_async(self) -> None:
        """A coroutine that returns the page of sessions that match."""

    def assign_session_project(self, session_id: str, project_id: str) -> APIFuture[None]:
        """Move a session, with what belongs to it, into a project."""
        if not isinstance(project_id, str) or not project_id:
            raise InputError(f"project_id must be the id of a project, not {project_id!r}")
        return self._start(api.assign_session_project, session_id, project_id)

    @awaited(assign_session_project)
    async def assign_session_project_async(self) -> None:
        """A coroutine that returns None once the session is in the project."""

    def export_session_trace(self, session_id: str) -> APIFuture[str]:
        """Have the server make a Perfetto trace of a session's timeline; the future gives its signed URL.

        The future raises ``RequestFailedError`` if the server could not make the trace, and
        ``APITimeoutError`` after an hour.
        """
        future: APIFuture[str] = APIFuture()
        self._run(future, partial(_export_trace, self._transport, session_id, future))
        return future

    @awaited(export_session_trace)
    async def export_session_trace_async(self) -> None:
        """A coroutine that returns the signed URL of the session's timeline."""

    def get_sampler(self, sampler_id: str) -> APIFuture[GetSamplerResponse]:
        """Ask what a sampling session samples from: its base model, and its weights if it has any."""
        return self._start(info.get_sampler, sampler_id)

    @awaited(get_sampler)
    async def get_sampler_async(self) -> None:
        """A coroutine that returns what the sampling session samples from."""


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
