"""The embedded server behind a test server, from its start to its restart or the end of the test."""

from __future__ import annotations

import io
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


class Backend:
    """The embedded server: its state, and its answers to requests.

    ``seen`` collects the models that are made, by their ids. ``checkpoints`` are those from before a restart.
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

    def start(self) -> Backend:
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
