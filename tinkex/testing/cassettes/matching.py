"""Which requests count as the same when a cassette is played, and which are answered without one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests

from tinkex.testing.cassettes.scrubbing import Scrubber
from tinkex.testing.endpoints import PREFIX

_IDS = frozenset({"session_id", "model_id", "sampling_session_id"})
"""Fields with ids that the server has given. They match if possible: several clients may get each other's ids."""
_VOLATILE = frozenset(
    {
        "sdk_version",
        "seq_id",
        "model_seq_id",
        "sampling_session_seq_id",
        "custom_loss_seq_id",
        "allow_metadata_only",
    }
)
"""Fields that differ from run to run: numbers are given in the order in which threads send."""


class Key(NamedTuple):
    """What identifies a request: method and place, the content, and the ids in it, which need not match."""

    place: str
    content: str
    ids: str

    @property
    def loose(self) -> tuple[str, str]:
        """The parts that have to match."""
        return self.place, self.content


def key_of(request: requests.PreparedRequest, scrubber: Scrubber, ignored: Collection[str]) -> Key:
    """Return the key of a request. The JSON fields in ``ignored`` do not count."""
    url, headers = str(request.url), request.headers
    link = scrubber.link_of(url)
    if link is not None:
        return Key(f"{request.method} {link} {headers.get('Range', '')}".strip(), "", "")
    parts = urlsplit(url)
    _, found, path = parts.path.partition(PREFIX)
    place = f"{request.method} {path if found else parts.path}"
    if parts.query:
        place += "?" + scrubber.text(parts.query)
    return Key(place, *_content(request, scrubber, _VOLATILE.union(ignored)))


def _content(
    request: requests.PreparedRequest, scrubber: Scrubber, ignored: Collection[str]
) -> tuple[str, str]:
    body = request.body or b""
    content = body.encode() if isinstance(body, str) else bytes(body)
    kind = str(request.headers.get("Content-Type", ""))
    if kind.startswith("application/x-protobuf"):
        return _proto_content(content)
    try:
        document = json.loads(content) if content else None
    except ValueError:
        return hashlib.sha256(content).hexdigest(), ""
    ids: dict[str, Any] = {}
    document = _without(scrubber.json(document), ignored, ids)
    text = "" if document is None else json.dumps(document, sort_keys=True)
    return _short(text), json.dumps(ids, sort_keys=True)


def _proto_content(content: bytes) -> tuple[str, str]:
    from google.protobuf.message import DecodeError

    from tinkex.wire import messages_pb2 as pb

    try:
        message = pb.ForwardBackwardRequest.FromString(content)
    except DecodeError:
        return hashlib.sha256(content).hexdigest(), ""
    ids = json.dumps({"model_id": message.model_id})
    message.ClearField("model_id")
    message.ClearField("seq_id")
    return f"proto {hashlib.sha256(message.SerializeToString(deterministic=True)).hexdigest()}", ids


def _without(value: Any, ignored: Collection[str], ids: dict[str, Any]) -> Any:
    """Return a JSON value without the fields in ``ignored``, and move the ids in it to ``ids``."""
    if not isinstance(value, dict):
        return value
    kept = {}
    for name, each in value.items():
        if name in _IDS:
            ids[name] = each
        elif name not in ignored:
            kept[name] = _without(each, ignored, ids)
    return kept


def _short(text: str) -> str:
    """Return a long text by its digest, so that a cassette does not hold whole batches twice."""
    return text if len(text) <= 500 else f"{text[:200]}... {hashlib.sha256(text.encode()).hexdigest()}"


def repeats(place: str) -> bool:
    """Whether the last answer stands for all later requests: how often these are sent depends on time."""
    return place.startswith(
        (
            "POST /retrieve_future",
            "POST /session_heartbeat",
            "POST /client/",
            "POST /cancel_future",
            "GET /healthz",
        )
    )


def standing_answer(place: str) -> dict[str, Any] | None:
    """The answer to a request that a cassette need not have: what happens by time, and the end of a session."""
    path = place.partition(" ")[2]
    if path == "/session_heartbeat":
        return {"type": "session_heartbeat"}
    if path == "/client/config" or path == "/client/dynamic_config" or path.endswith("/finish"):
        return {}
    if path == "/cancel_future":
        return {"type": "cancel_future"}
    return left_out(place)


def left_out(place: str) -> dict[str, Any] | None:
    """The answer to a request that is never recorded: telemetry, and the exchange of a key for a JWT."""
    path = place.partition(" ")[2]
    if path == "/telemetry":
        return {"status": "accepted"}
    return {"jwt": "eyJ.cassette"} if path == "/auth/token" else None
