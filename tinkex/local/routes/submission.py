"""How endpoints accept work: a repeated request is carried out once, and the answer is a promise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from tinkex.local.protocol.fields import Fields
from tinkex.local.protocol.results import Document
from tinkex.local.sessions import Model, Session
from tinkex.local.state import State
from tinkex.local.web.answer import Answer, document
from tinkex.local.work.fingerprint import fingerprint
from tinkex.local.work.promises import Promise, Result

_T = TypeVar("_T")


def submitted(promise: Promise, **more: Any) -> Answer:
    """Return the answer that names a promise. The client then polls for the result of the promise."""
    answer: dict[str, Any] = {"request_id": promise.request_id, **more}
    if promise.model_id is not None:
        answer["model_id"] = promise.model_id
    return document(answer)


def finished(state: State, kind: str, result: dict[str, Any], model_id: str) -> Promise:
    """Return a promise that already has its result."""
    promise = state.promises.new(kind, model_id)
    promise.resolve(Document(result))
    return promise


def queue(model: Model, kind: str, fields: Fields, work: Callable[[], Result]) -> Promise:
    """Queue ``work`` as a request of ``model``, in the order of ``seq_id``.

    ``fields`` are the fields of the request, ``seq_id`` among them.
    """
    seq_id = fields.integer("seq_id", None, low=1)
    return model.queue.submit(seq_id, kind, fingerprint(kind, fields.document), work)


@dataclass(frozen=True)
class Number:
    """The number of a request among those of its session: the ``name`` of its field, and its value."""

    session: Session
    name: str
    value: int

    def once(self, kind: str, fields: Fields, make: Callable[[], _T]) -> _T:
        """Return the value of ``make``. If the same request is sent again, the first value is returned.

        ``fields`` are the fields of the request. Raises ``Conflict`` if the number was used by
        another request.
        """
        number = f"{self.name} {self.value} of session {self.session.id}"
        return self.session.numbered.once(number, fingerprint(kind, fields.document), make)

    def promise_once(self, state: State, kind: str, fields: Fields, make: Callable[[], Promise]) -> Answer:
        """Do as ``once`` does, for a request that is answered with a promise."""
        request_id = self.once(kind, fields, lambda: make().request_id)
        return submitted(state.promises.get(request_id))
