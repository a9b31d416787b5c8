"""One life of the embedded server behind a test server, from its start to its restart or the end of the test."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import unquote_to_bytes

from tinkex.local.app import App
from tinkex.local.checkpoints.store import CheckpointStore
from tinkex.local.model.offered import BYTE_LM, OfferedModel
from tinkex.local.model.training import TrainingModel
from tinkex.local.offers import offer
from tinkex.local.sessions import Model, Session
from tinkex.local.state import State
from tinkex.local.web.hosts import Hosts
from tinkex.testing.listener import Answer
from tinkex.testing.requests import Request
from tinkex.wire import messages_pb2 as pb

_NAMED = re.compile(
    rb'"(?:model_id|base_model|sampling_session_id|request_id|model_path|path)"\s*:\s*"([^"\\]{1,300})"'
)
_ENDS = 2048  # how many bytes of the start and the end of a JSON body are searched for names


@dataclass
class Settings:
    """The settings of an embedded server: those of ``LocalServer`` with the same names."""

    session_timeout: float
    poll_timeout: float
    models: Mapping[str, int | None]
    strict: bool

    @cached_property
    def offered(self) -> list[OfferedModel]:
        """The base models on offer, whose tokenizers are loaded once if they say the size of the vocabulary."""
        return [*(offer(name, size) for name, size in self.models.items()), BYTE_LM]


class _State(State):
    """A state that remembers its models after their end."""

    def __init__(self, settings: Settings, seen: dict[str, Model]) -> None:
        self._seen = seen
        timeouts = settings.session_timeout, settings.poll_timeout
        super().__init__(None, *timeouts, settings.offered, strict=settings.strict)

    def add_model(
        self,
        session: Session,
        run: str,
        base: OfferedModel,
        training: TrainingModel,
        user_metadata: dict[str, Any] | None,
    ) -> Model:
        """Add a model, as the base class does."""
        model = super().add_model(session, run, base, training, user_metadata)
        self._seen[run] = model
        return model


class Life:
    """The embedded server: its state, and its answers to requests.

    ``seen`` collects the models that are made, by their ids. ``checkpoints`` are those of an earlier life.
    """

    def __init__(
        self,
        settings: Settings,
        seen: dict[str, Model],
        checkpoints: CheckpointStore | None = None,
    ) -> None:
        self._settings = settings
        self._seen = seen
        self._checkpoints = checkpoints

    @cached_property
    def state(self) -> State:
        """The state, whose threads start when it is first asked for."""
        state = _State(self._settings, self._seen)
        if self._checkpoints is not None:
            state.checkpoints = self._checkpoints
        return state

    @cached_property
    def _app(self) -> App:
        return App(self.state, Hosts("127.0.0.1", ()), None)

    def start(self) -> Life:
        """Start the threads, and be ready for requests."""
        assert self._app is not None
        return self

    def answer(self, request: Request) -> Answer:
        """Carry out a request and return its answer."""
        started: dict[str, Any] = {}

        def start_response(status: str, headers: Iterable[tuple[str, str]]) -> None:
            started.update(status=int(status.split()[0]), headers=dict(headers))

        content = b"".join(self._app(_environ(request), start_response))
        return Answer(started["status"], started["headers"], content)

    def close(self) -> None:
        """Wake the long polls and end the threads, if they were started."""
        if "state" in vars(self):
            self.state.close()


def _environ(request: Request) -> dict[str, Any]:
    environ = {
        f"HTTP_{name.upper().replace('-', '_')}": value
        for name, value in {**request.headers, **request.secrets}.items()
    }
    host, _, port = request.headers.get("host", "").rpartition(":")
    return environ | {
        "REQUEST_METHOD": request.method,
        "PATH_INFO": unquote_to_bytes(request.path).decode("latin-1"),
        "QUERY_STRING": request.query,
        "CONTENT_TYPE": request.headers.get("content-type", ""),
        "CONTENT_LENGTH": str(len(request.content)),
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(request.content),
    }


class Relations:
    """Which models a request concerns: its model, the base model of that, and the model of its sampler or promise."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._models: dict[str, set[str]] = {}

    def models_of(self, request: Request) -> set[str]:
        """The ids and the base models of the models that a request concerns."""
        return self._related(_names_in(request.headers, request.content))

    def learn(self, request: Request, answer: Answer) -> None:
        """Note that what an answer names (a promise, a model, a sampler) concerns the models of its request."""
        named = _names_in({"content-type": answer.headers.get("Content-Type", "")}, answer.content)
        if named:
            models = self.models_of(request)
            with self._lock:
                for name in named:
                    self._models.setdefault(name, set()).update(models - {name})

    def know(self, name: str) -> bool:
        """Return whether an answer has named this model, sampler or promise."""
        with self._lock:
            return name in self._models

    def _related(self, names: set[str]) -> set[str]:
        with self._lock:
            return names.union(*(self._models.get(name, ()) for name in names))


def _names_in(headers: Mapping[str, str], content: bytes) -> set[str]:
    """The ids and names of models, samplers and promises in a body. A path of a checkpoint names its run."""
    kind = headers.get("content-type", "")
    if kind.startswith("application/x-protobuf"):
        try:
            return {pb.ForwardBackwardRequest.FromString(content).model_id} - {""}
        except Exception:  # DecodeError: it may be a result, or anything
            return set()
    if not kind.startswith("application/json"):
        return set()
    text = content if len(content) <= 2 * _ENDS else content[:_ENDS] + content[-_ENDS:]
    names = {found.decode("utf-8", "replace") for found in _NAMED.findall(text)}
    return {name.removeprefix("tinker://").partition("/")[0] if "://" in name else name for name in names}
