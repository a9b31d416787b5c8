"""Records the traffic of Tinkex clients with a real server once, and plays it without one."""

from __future__ import annotations

import base64
import contextlib
import functools
import inspect
import io
import json
import os
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar, cast

import requests
import urllib3

from tinkex.errors import InputError
from tinkex.http import connections
from tinkex.testing.cassettes.file import CassetteError, Recorded, read, write
from tinkex.testing.cassettes.matching import Key, key_of, left_out, repeats, standing_answer
from tinkex.testing.cassettes.scrubbing import LINK, Scrubber
from tinkex.training import wire_format

F = TypeVar("F", bound=Callable[..., Any])
RecordMode = Literal["once", "none", "all"]
LONGEST_WAIT = 0.01
"""Seconds that an answer asks the client to wait, at most, when it is played."""


class Cassette(contextlib.ContextDecorator):
    """A file with recorded traffic; see ``cassette``."""

    def __init__(
        self, path: str | os.PathLike[str], *, record_mode: RecordMode = "once", ignore: Collection[str] = ()
    ) -> None:
        if record_mode not in ("once", "none", "all"):
            raise InputError(f"record_mode must be 'once', 'none' or 'all', not {record_mode!r}")
        self.path: Path = Path(path)
        self._mode: RecordMode = record_mode
        self._ignored = tuple(ignore)
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self.recording: bool = self._mode == "all" or (self._mode == "once" and not self.path.exists())
        """Whether the server is asked and its answers are kept."""
        self.played: int = 0
        """How many answers of the cassette have been given."""
        self._scrubber = Scrubber()
        self._recorded: list[Recorded] = []
        self._answers: dict[tuple[str, str], list[Recorded]] = {}
        self._last: dict[object, Recorded] = {}
        self._missing: list[str] = []

    def __call__(self, function: F) -> F:
        """Return ``function`` with a cassette around each call, as long as it runs also if it is a coroutine."""
        if not inspect.iscoroutinefunction(function):
            return super().__call__(function)

        @functools.wraps(function)
        async def inside(*args: Any, **kwargs: Any) -> Any:
            with self._recreate_cm():
                return await function(*args, **kwargs)

        return cast(F, inside)

    def _recreate_cm(self) -> Cassette:
        """Return a cassette for one call of a decorated function."""
        return Cassette(self.path, record_mode=self._mode, ignore=self._ignored)

    def __len__(self) -> int:
        with self._lock:
            return len(self._recorded)

    def __repr__(self) -> str:
        return f"<Cassette {str(self.path)!r} {'recording' if self.recording else 'playing'} {len(self)} answers>"

    def __enter__(self) -> Cassette:
        self._begin()
        if self.recording:
            # At once, so that a run that was paid for is not lost at its end.
            self.path.parent.mkdir(parents=True, exist_ok=True)
        else:
            self._recorded = read(self.path)
            for each in self._recorded:
                self._answers.setdefault(each.key.loose, []).append(each)
        if connections.interceptor is not None:
            raise CassetteError("another cassette is in use: leave its with block first")
        wire_format.forget()
        connections.interceptor = self._record if self.recording else self._play
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        connections.interceptor = None
        wire_format.forget()
        if kind is None and self.recording:
            with self._lock:
                recorded = list(self._recorded)
            write(self.path, recorded, self._scrubber)
        if kind is None and self._missing:
            raise self._not_here(self._missing[0])

    # ---- recording ----

    def _record(
        self, request: requests.PreparedRequest, send: Callable[[], requests.Response]
    ) -> requests.Response:
        self._scrubber.note_headers(request.headers)
        key = key_of(request, self._scrubber, self._ignored)
        answer = send()
        content = answer.raw.read(decode_content=True)
        headers = dict(answer.headers)
        answer.raw.release_conn()
        if key.place == "POST /client/config":
            content = _without_one_poll_for_all(content)
        if left_out(key.place) is None:
            kept = self._kept(key, answer.status_code, headers, content)
            with self._lock:
                self._recorded.append(kept)
        for name in ("Content-Encoding", "Content-Length", "Transfer-Encoding"):
            headers = {each: value for each, value in headers.items() if each.lower() != name.lower()}
        return _response(request, answer.status_code, headers, content)

    def _kept(self, key: Key, status: int, headers: dict[str, str], content: bytes) -> Recorded:
        kept = self._scrubber.headers(headers)
        if LINK in key.place:  # a file, which has to stay as it is
            return Recorded(key, status, kept, base64.b64encode(content).decode(), "base64")
        try:
            return Recorded(key, status, kept, self._scrubber.json(json.loads(content)), "json")
        except ValueError:
            pass
        kind = headers.get("Content-Type", "")
        if kind.startswith("text/"):
            return Recorded(
                key, status, kept, self._scrubber.text(content.decode("utf-8", "replace")), "text"
            )
        return Recorded(key, status, kept, base64.b64encode(content).decode(), "base64")

    # ---- playing ----

    def _play(
        self, request: requests.PreparedRequest, send: Callable[[], requests.Response]
    ) -> requests.Response:
        self._scrubber.note_headers(request.headers)
        key = key_of(request, self._scrubber, self._ignored)
        found = self._find(key, request.headers.get("X-Idempotency-Key"))
        if found is None:
            answer = standing_answer(key.place)
            if answer is None:
                with self._lock:
                    self._missing.append(f"{key.place} {key.content}".strip())
                raise self._not_here(self._missing[-1])
            return _response(request, 200, {"Content-Type": "application/json"}, json.dumps(answer).encode())
        with self._lock:
            self.played += 1
        content = (
            base64.b64decode(found.body)
            if found.encoding == "base64"
            else (json.dumps(found.body) if found.encoding == "json" else str(found.body)).encode()
        )
        headers = {name: _shortened(name, value) for name, value in found.headers.items()}
        return _response(request, found.status, headers, content)

    def _find(self, key: Key, idempotency_key: object) -> Recorded | None:
        """The answer to a request: the next one that was recorded for it. A repeated try gets its answer again."""
        with self._lock:
            waiting = self._answers.get(key.loose, [])
            chosen = next((each for each in waiting if each.key.ids == key.ids), None)
            if chosen is None and waiting:
                chosen = waiting[0]
            if chosen is not None:
                waiting.remove(chosen)
                self._last[key.loose] = chosen
                if idempotency_key is not None:
                    self._last[idempotency_key] = chosen
                return chosen
            if repeats(key.place):
                return self._last.get(key.loose)
            return None if idempotency_key is None else self._last.get(idempotency_key)

    def _not_here(self, request: str) -> CassetteError:
        places = sorted({each.key.place for each in self._recorded})
        return CassetteError(
            f"{self.path} has no answer left for {request[:300]}; it has answers for {', '.join(places)}. "
            "Delete the file to record it anew"
        )


def cassette(
    path: str | os.PathLike[str], *, record_mode: RecordMode = "once", ignore: Collection[str] = ()
) -> Cassette:
    """Record the traffic of Tinkex clients in the file ``path`` if it does not exist yet; else play it.

    The result is a context manager and a decorator. With ``record_mode="none"`` the file must exist, with ``"all"``
    it is recorded anew. It is written at the end of the block, unless an exception ends the block.

    A request gets the answers that were recorded for the same endpoint and body, in their order. Ids and numbers in
    the body need not be the same, nor does the order of different requests, which depends on threads. The fields
    ``ignore`` of JSON bodies do not count; give the same ones when recording. Heartbeats beyond the recorded ones are
    answered; telemetry is left out. Waits that the server asked for are cut short. Any other request raises
    ``CassetteError``, which names it, and so does the end of the block, in case the program has caught the first one.

    The file has no headers of requests, and neither keys, JWTs, cookies nor signed URLs. When it is played, the base
    URL and the key may be any. The traffic of all clients in this process is meant, and of no other library.

    Example::

        from tinkex.testing import TinkerServer, cassette

        def ask(**server):
            with tinkex.ServiceClient(**server) as service:
                return service.get_server_capabilities().supported_models[0].model_name

        with TinkerServer() as server, cassette("capabilities.json"):
            name = ask(base_url=server.url, api_key=server.api_key)
        with cassette("capabilities.json"):  # the server is gone
            assert ask(base_url="http://127.0.0.1:9", api_key="tml-any") == name
    """
    return Cassette(path, record_mode=record_mode, ignore=ignore)


def _without_one_poll_for_all(content: bytes) -> bytes:
    """Return the flags of a server without that for one poll for all samples, whose answers depend on time."""
    try:
        flags = json.loads(content)
    except ValueError:
        return content
    if not isinstance(flags, dict) or not flags.get("sample_use_retrieve_futures"):
        return content
    return json.dumps({**flags, "sample_use_retrieve_futures": False}).encode()


def _shortened(name: str, value: str) -> str:
    if name.lower() != "retry-after":
        return value
    try:
        return f"{min(float(value), LONGEST_WAIT):g}"
    except ValueError:  # a date
        return f"{LONGEST_WAIT:g}"


def _response(
    request: requests.PreparedRequest, status: int, headers: dict[str, str], content: bytes
) -> requests.Response:
    raw = urllib3.HTTPResponse(
        io.BytesIO(content),
        headers={**headers, "Content-Length": str(len(content))},
        status=status,
        preload_content=False,
        request_method=request.method,
    )
    response = requests.Response()
    response.status_code = status
    response.headers = raw.headers  # type: ignore[assignment]  # as the adapter does
    response.raw = raw
    response.url = str(request.url)
    response.request = request
    return response
