"""What a test server knows: the sessions, models and checkpoints of the present test."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, ValuesView
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from tinkex.local.checkpoints.store import Checkpoint
from tinkex.local.sessions import Model, Session
from tinkex.testing.rules import model_name


class _Named(Protocol):
    @property
    def id(self) -> str: ...


N = TypeVar("N", bound=_Named)


class Records(Generic[N]):
    """Records in the order in which they were made, found by id or by position.

    A client stands for its model, and the name of a base model for the only model that was made on it.
    """

    def __init__(self, records: Iterable[N]) -> None:
        self._records = {record.id: record for record in records}

    def __iter__(self) -> Iterator[N]:
        return iter(self._records.values())

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, key: object) -> bool:
        return key in self._records or key in self._records.values()

    def __eq__(self, other: object) -> bool:
        return list(self) == (list(other) if isinstance(other, Records) else other)

    def __repr__(self) -> str:
        return repr(list(self))

    def __getitem__(self, key: object) -> N:
        if isinstance(key, int):
            return list(self)[key]
        name = model_name(getattr(key, "id", key))
        if name in self._records:
            return self._records[str(name)]
        found = [record for record in self if getattr(record, "base_model", None) == name]
        if len(found) != 1:
            raise KeyError(f"{name!r} is none of {', '.join(self._records) or 'no records'}")
        return found[0]

    def get(self, key: object) -> N | None:
        """The record of ``key``, or None."""
        try:
            return self[key]
        except (KeyError, IndexError):
            return None

    def keys(self) -> KeysView[str]:
        """The ids."""
        return self._records.keys()

    def values(self) -> ValuesView[N]:
        """The records."""
        return self._records.values()

    def items(self) -> ItemsView[str, N]:
        """The ids with their records."""
        return self._records.items()


@dataclass(frozen=True)
class SessionRecord:
    """A session. ``status`` is ``active``, ``client_finished``, or ``cancelled`` if the server ended it."""

    id: str
    status: str
    tags: list[str]
    user_metadata: dict[str, Any] | None
    project_id: str | None
    display_name: str | None
    models: list[str]
    """The ids of its models."""

    @property
    def active(self) -> bool:
        """Whether the session has not ended."""
        return self.status == "active"

    @classmethod
    def of(cls, session: Session) -> SessionRecord:
        """The record of a session of the embedded server."""
        return cls(
            session.id,
            str(session.status["type"]),
            list(session.tags),
            session.user_metadata,
            session.project_id,
            session.display_name,
            list(session.runs),
        )


@dataclass(frozen=True)
class ModelRecord:
    """A model, as it is now or was when its session ended."""

    id: str
    base_model: str
    session_id: str
    steps: int
    """The optimizer steps that are in its weights, with those of a checkpoint whose optimizer was loaded."""
    rank: int
    user_metadata: dict[str, Any] | None

    @property
    def model_id(self) -> str:
        """The id, by the name that clients have for it."""
        return self.id

    @classmethod
    def of(cls, model: Model) -> ModelRecord:
        """The record of a model of the embedded server."""
        training = model.training
        return cls(
            model.id,
            model.base.name,
            model.session.id,
            training.step,
            training.spec.rank,
            model.user_metadata,
        )


@dataclass(frozen=True)
class CheckpointRecord:
    """A checkpoint that is kept."""

    path: str
    """The path by which clients name it, ``tinker://...``."""
    model_id: str
    name: str
    kind: str
    """``weights`` with the optimizer, ``sampler_weights``, or ``external_weights``."""
    step: int
    """The optimizer steps before it was saved."""
    size_bytes: int
    user_metadata: dict[str, Any] | None

    @property
    def id(self) -> str:
        """The path."""
        return self.path

    @property
    def tinker_path(self) -> str:
        """The path, by the name that ``types.Checkpoint`` has for it."""
        return self.path

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> CheckpointRecord:
        """The record of a checkpoint of the embedded server."""
        return cls(
            checkpoint.key.path,
            checkpoint.run,
            checkpoint.name,
            checkpoint.kind,
            checkpoint.step,
            checkpoint.size_bytes,
            checkpoint.user_metadata,
        )
