"""Which models a request concerns, for the faults that are bound to one."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping

from tinkex.testing.listener import Answer
from tinkex.testing.requests import Request
from tinkex.wire import messages_pb2 as pb

_NAMED = re.compile(
    rb'"(?:model_id|base_model|sampling_session_id|request_id|model_path|path)"\s*:\s*"([^"\\]{1,300})"'
)
_ENDS = 2048  # how many bytes of the start and the end of a JSON body are searched for names


class ConcernedModels:
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
