"""The requests that a test server received."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, overload

from tinkex.observability.redact import HIDDEN
from tinkex.testing.endpoints import PREFIX, matches, patterns_of

SECRET_HEADERS = frozenset(
    {
        "x-api-key",
        "authorization",
        "proxy-authorization",
        "cookie",
        "cf-access-client-id",
        "cf-access-client-secret",
    }
)
"""The headers, in lower case, whose values are not shown."""


class Body(dict[str, Any]):
    """A JSON object whose fields are attributes too, with the types of ``tinkex.types`` where there are some."""

    def __getattr__(self, name: str) -> Any:
        """Return the field ``name``."""
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the body has no field {name!r}, but {', '.join(self)}") from None


@dataclass(frozen=True, eq=False)
class Request:
    """A request as it arrived."""

    method: str
    path: str
    """The path without the query, ``/api/v1/asample``."""
    query: str
    headers: Mapping[str, str]
    """The headers, with names in lower case. The values of those that carry credentials are hidden."""
    content: bytes = field(repr=False)
    """The body, as it was sent."""
    time: float
    """When the request arrived, in seconds by ``time.monotonic()``."""
    connection: int
    """The number of the connection that brought it, counted from 1."""
    secrets: Mapping[str, str] = field(repr=False, default_factory=dict)
    """The headers that carry credentials, as they were sent."""

    @property
    def endpoint(self) -> str:
        """The path without the prefix ``/api/v1`` and the slash, such as ``asample``."""
        return self.path.removeprefix(PREFIX).lstrip("/")

    @cached_property
    def body(self) -> Any:
        """The body as a typed message: a ``Body``, or the plain content if it is neither JSON nor proto.

        In the body of ``forward_backward`` and ``forward``, ``data`` is a list of ``types.Datum``. It stands with
        ``loss_fn`` and ``loss_fn_config`` beside ``model_id`` and ``seq_id``, and again in ``forward_backward_input``
        or ``forward_input`` as in the protocol, whether the body was sent as JSON or as proto. In other bodies
        ``prompt`` is a ``types.ModelInput``, ``sampling_params`` a ``types.SamplingParams``, ``adam_params`` a
        ``types.AdamParams`` and ``lora_config`` a ``types.LoraConfig``.
        """
        from tinkex.testing.messages import read_body

        return read_body(self.headers.get("content-type", ""), self.content)

    def json(self) -> Any:
        """The body as plain JSON. Raises ``ValueError`` if it is not JSON."""
        return json.loads(self.content)


class Requests(Sequence[Request]):
    """The requests that have arrived, in order. Any thread may use it.

    Example::

        from tinkex.testing import TinkerServer

        with TinkerServer() as server, tinkex.ServiceClient(config=server.config()) as service:
            training = service.create_lora_training_client("tinkex/byte-lm")
            training.optim_step(types.AdamParams(learning_rate=1e-3)).result()
            step = server.requests.wait_for("optim_step", 1)[0]
            assert step.body.adam_params.learning_rate == 1e-3
            assert len(server.requests.to("create_session")) == 1
    """

    def __init__(self) -> None:
        self._all: list[Request] = []
        self._changed = threading.Condition()

    def __iter__(self) -> Iterator[Request]:
        return iter(self._copy())

    def __len__(self) -> int:
        return len(self._copy())

    @overload
    def __getitem__(self, index: int) -> Request: ...
    @overload
    def __getitem__(self, index: slice) -> list[Request]: ...
    def __getitem__(self, index: int | slice) -> Request | list[Request]:
        return self._copy()[index]

    def __repr__(self) -> str:
        return f"<Requests {[f'{each.method} {each.path}' for each in self]}>"

    def _copy(self) -> list[Request]:
        with self._changed:
            return list(self._all)

    def to(self, endpoint: str) -> list[Request]:
        """The requests to an endpoint, which is a name such as ``asample``, or a path that starts with a slash."""
        patterns = patterns_of(endpoint)
        return [request for request in self._copy() if matches(request.path, patterns)]

    def wait_for(self, endpoint: str, count: int = 1, timeout: float = 60.0) -> list[Request]:
        """Wait until ``count`` requests to ``endpoint`` have arrived, and return all of them.

        Raises ``AssertionError`` after ``timeout`` seconds.
        """
        patterns = patterns_of(endpoint)

        def found() -> list[Request]:
            return [request for request in self._all if matches(request.path, patterns)]

        with self._changed:
            self._changed.wait_for(lambda: len(found()) >= count, timeout)
            arrived = found()
        if len(arrived) < count:
            raise AssertionError(f"{len(arrived)} of {count} requests to {endpoint} within {timeout:g} s")
        return arrived

    def clear(self) -> None:
        """Forget the requests that have arrived so far."""
        with self._changed:
            self._all.clear()

    def add(self, request: Request) -> None:
        """Record a request. For the server alone."""
        with self._changed:
            self._all.append(request)
            self._changed.notify_all()


def hidden(headers: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return ``headers`` with names in lower case and credentials hidden; and the credentials."""
    lower = {name.lower(): value for name, value in headers.items()}
    secrets = {name: value for name, value in lower.items() if name in SECRET_HEADERS}
    return {name: HIDDEN if name in secrets else value for name, value in lower.items()}, secrets
