"""Links to checkpoints, their files, and traces; and the downloads through these links."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from functools import partial

from tinkex.local.checkpoints.files import INFO_FILE, WEIGHTS_FILE
from tinkex.local.checkpoints.path import Key
from tinkex.local.errors import NotFound
from tinkex.local.links import LIFETIME
from tinkex.local.protocol.refused import Refused
from tinkex.local.routes.routing import Route
from tinkex.local.state import State
from tinkex.local.web.answer import Answer, document
from tinkex.local.web.request import Request

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


def archive(state: State, request: Request) -> Answer:
    """Redirect to a checkpoint as one file.

    Older clients name no kind of checkpoint; they get the weights for a sampler, if there are any of that name.
    """
    run, name = request.parameters["run"], request.parameters["name"]
    kind = request.parameters.get("kind")
    kinds = [kind] if kind else ["sampler_weights", "weights"]
    held = [each.key for each in state.checkpoints.all(run) if each.name == name and each.kind in kinds]
    if not held:
        raise NotFound(f"run {run} has no checkpoint {name}")
    key = min(held, key=lambda key: kinds.index(key.kind))
    link = new_link(state, request, lambda: state.checkpoints.archive(key), "application/x-tar")
    headers = [("Location", link), ("Expires", format_datetime(_expiry(), usegmt=True))]
    return document({"url": link}, 302, headers)


def external_weights_urls(state: State, request: Request) -> Answer:
    """Links to the files of a checkpoint."""
    key = checkpoint_key(request)
    state.checkpoints.find(key)
    files = {
        file: new_link(state, request, partial(state.checkpoints.file, key, file))
        for file in (INFO_FILE, WEIGHTS_FILE)
    }
    return document({"urls": files, "expires": _expiry().isoformat()})


def download(state: State, request: Request) -> Answer:
    """Send the content of a link, or the part that the header ``Range`` asks for.

    A client asks for a part to resume a broken download.
    """
    link = state.links.find(request.parameters["token"])
    if link is None:
        raise Refused(403, "this download link has expired or never was")
    data = link.read()
    tag = f'"{hashlib.blake2b(data, digest_size=16).hexdigest()}"'
    headers = [("Accept-Ranges", "bytes"), ("ETag", tag)]
    part = None
    if request.header("If-Range") in (None, tag):
        part = _part(request.header("Range") or "", len(data))
    if part is None:
        return Answer(200, data, link.content_type, headers)
    if part.start >= len(data):
        return Answer(416, b"", None, [*headers, ("Content-Range", f"bytes */{len(data)}")])
    headers.append(("Content-Range", f"bytes {part.start}-{part.stop - 1}/{len(data)}"))
    return Answer(206, data[part.start : part.stop], link.content_type, headers)


def _part(header: str, size: int) -> range | None:
    """Return the bytes that a ``Range`` header asks for, or None for the whole content.

    A header that asks for several parts gets the whole content too.
    """
    found = _RANGE.fullmatch(header.strip())
    if found is None:
        return None
    first, last = found.groups()
    if not first:
        return range(max(size - int(last), 0), size) if last else None
    stop = min(int(last) + 1, size) if last else size
    return None if last and int(last) < int(first) else range(int(first), stop)


def new_link(
    state: State, request: Request, read: Callable[[], bytes], content_type: str = "application/octet-stream"
) -> str:
    """Return the URL of a new link to the content that ``read`` returns.

    The host of the URL is the host to which the client sent ``request``.
    """
    return f"{request.base_url}/api/v1/download/{state.links.new(read, content_type)}"


def checkpoint_key(request: Request) -> Key:
    """Return the key of the checkpoint in the path; raises ``Invalid`` if no checkpoint can have it."""
    parts = request.parameters
    return Key.parse(f"tinker://{parts['run']}/{parts['kind']}/{parts['name']}")


def _expiry() -> datetime:
    return datetime.now(timezone.utc) + timedelta(seconds=LIFETIME)


ROUTES = (
    Route("GET", "/training_runs/{run}/checkpoints/{name}/archive", archive),
    Route("GET", "/training_runs/{run}/checkpoints/{kind}/{name}/archive", archive),
    Route(
        "GET", "/training_runs/{run}/checkpoints/{kind}/{name}/external_weights_urls", external_weights_urls
    ),
    Route("GET", "/download/{token}", download, needs_key=False),
)
