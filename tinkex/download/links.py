"""Where the server lets a checkpoint be had: signed URLs that work for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from functools import partial

from tinkex.api import rest as api
from tinkex.errors import APIStatusError
from tinkex.http.retry import backoff, retry_after
from tinkex.http.transport import Transport
from tinkex.types.rest import ParsedCheckpointTinkerPath

ARCHIVE_SECONDS = 1800.0
"""How long the server may take to make an archive."""
_UNSUPPORTED = frozenset({400, 404, 405, 422, 501})
"""What a server answers to a call that it does not have, at all or for this kind of checkpoint."""

URLs = Mapping[str, str]


class Links:
    """The signed URLs of a checkpoint by file name, asked for again when they no longer work."""

    def __init__(self, ask: Callable[[], URLs]) -> None:
        self._ask = ask
        self._urls = dict(ask())
        self._lock = threading.Lock()

    @property
    def names(self) -> list[str]:
        """The names of the files, as the server gives them."""
        return sorted(self._urls)

    def __getitem__(self, name: str) -> Link:
        return Link(self, name)

    def url(self, name: str) -> str:
        """The present URL of a file."""
        return self._urls[name]

    def renew(self, name: str, refused: str) -> None:
        """Have other URLs than the one that was refused; one thread asks for all."""
        with self._lock:
            if self._urls[name] == refused:
                self._urls.update(self._ask())


class Link:
    """One of them; see ``fetch.Link``."""

    def __init__(self, links: Links, name: str) -> None:
        self.url: Callable[[], str] = partial(links.url, name)
        self.renew: Callable[[str], None] = partial(links.renew, name)


def of_files(transport: Transport, path: ParsedCheckpointTinkerPath) -> Links | None:
    """Links to the files of a checkpoint; None if the server does not give any for it."""

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
    """The link to a checkpoint as one archive, named ``archive``. Blocks while it is being made.

    ``wait(seconds)`` sleeps and may raise. Raises ``APIStatusError``, 503 after half an hour.
    """

    def ask() -> URLs:
        run = path.training_run_id
        try:
            return {"archive": _wait_for_archive(transport, run, path.checkpoint_id, wait)}
        except APIStatusError as refusal:
            # Servers that know no kinds serve the sampler's weights by the name alone. For another kind that
            # would be another checkpoint.
            if refusal.status_code not in (404, 405) or path.kind != "sampler_weights":
                raise
        return {"archive": _wait_for_archive(transport, run, path.name, wait)}

    return Links(ask)


def _wait_for_archive(
    transport: Transport, run: str, checkpoint_id: str, wait: Callable[[float], None]
) -> str:
    config, attempt, end = transport.config, 0, time.monotonic() + ARCHIVE_SECONDS
    while True:
        attempt += 1
        try:
            return api.archive_url(transport, run, checkpoint_id)
        except APIStatusError as refusal:
            if refusal.status_code != 503 or time.monotonic() > end:
                raise
            pause = retry_after(refusal.headers)
        wait(backoff(attempt, config.retry_delay, config.retry_delay_max) if pause is None else pause)
