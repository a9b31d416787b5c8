"""The signed URLs by which a checkpoint can be downloaded for a limited time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial

from tinkex.api import rest as api
from tinkex.errors import APIStatusError
from tinkex.http.retry import backoff
from tinkex.http.transport import Transport
from tinkex.types.rest import CheckpointArchiveUrlResponse, ParsedCheckpointTinkerPath

ARCHIVE_SECONDS = 1800.0
"""The longest time that the server may take to make an archive."""
_UNSUPPORTED = frozenset({400, 404, 405, 422, 501})
"""The statuses of a server that has no URLs of single files, at all or for this kind of checkpoint."""

URLs = Mapping[str, str]


class Links:
    """The signed URLs of the files of a checkpoint, which are requested again when they do not work any more."""

    def __init__(self, ask: Callable[[], URLs]) -> None:
        self._ask = ask
        self._urls = dict(ask())
        self._lock = threading.Lock()

    @property
    def names(self) -> list[str]:
        """The names of the files, as the server gives them, in alphabetical order."""
        return sorted(self._urls)

    def __getitem__(self, name: str) -> Link:
        return Link(self, name)

    def url(self, name: str) -> str:
        """Return the present URL of a file."""
        return self._urls[name]

    def renew(self, name: str, refused: str) -> None:
        """Request new URLs, unless another thread has done so since the URL ``refused`` was read."""
        with self._lock:
            if self._urls[name] == refused:
                self._urls.update(self._ask())


class Link:
    """The signed URL of one file, as a ``fetch.Link``."""

    def __init__(self, links: Links, name: str) -> None:
        self.url: Callable[[], str] = partial(links.url, name)
        self.renew: Callable[[str], None] = partial(links.renew, name)


def of_files(transport: Transport, path: ParsedCheckpointTinkerPath) -> Links | None:
    """Return the links to the files of a checkpoint, or None if the server offers none for it."""

    def ask() -> URLs:
        return api.external_weights_urls(transport, path.training_run_id, path.checkpoint_id).urls

    try:
        return Links(ask)
    except APIStatusError as refusal:
        if refusal.status_code in _UNSUPPORTED:
            return None
        raise


def of_archive(
    transport: Transport, path: ParsedCheckpointTinkerPath, wait: Callable[[float], None]
) -> Links:
    """Return the link to a checkpoint as one archive, under the name ``archive``. Blocks until it is made.

    ``wait(seconds)`` is called to sleep, and may raise. Raises ``APIStatusError`` if the server refuses, with the
    status 503 if the archive is not made within half an hour.
    """

    def ask() -> URLs:
        run = path.training_run_id
        try:
            return {"archive": wait_for_archive(transport, run, path.checkpoint_id, wait).url}
        except APIStatusError as refusal:
            # Some servers take only the name of a checkpoint, without its kind, and then return the sampler's
            # weights. For another kind those would be the wrong checkpoint.
            if refusal.status_code not in (404, 405) or path.kind != "sampler_weights":
                raise
        return {"archive": wait_for_archive(transport, run, path.name, wait).url}

    return Links(ask)


def wait_for_archive(
    transport: Transport, run: str, checkpoint_id: str, wait: Callable[[float], None]
) -> CheckpointArchiveUrlResponse:
    """Return the signed URL of a checkpoint as one archive. Blocks until the server has made the archive."""
    config, attempt, end = transport.config, 0, time.monotonic() + ARCHIVE_SECONDS
    while True:
        attempt += 1
        try:
            return api.archive_url(transport, run, checkpoint_id)
        except APIStatusError as refusal:
            if refusal.status_code != 503 or time.monotonic() > end:
                raise
            pause = transport.asked_wait(refusal.headers)
        wait(backoff(attempt, config.retry_delay, config.retry_delay_max) if pause is None else pause)
