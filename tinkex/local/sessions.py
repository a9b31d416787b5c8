"""Sessions, and the models and samplers that belong to them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from tinkex.local.model.training import Snapshot, TrainingModel
from tinkex.local.work.completions import CompletionLog
from tinkex.local.work.numbered import Numbered
from tinkex.local.work.ordered_queue import OrderedQueue


def now() -> str:
    """The time in UTC, as ISO 8601."""
    return datetime.now(timezone.utc).isoformat()


@dataclass(eq=False)
class Session:
    """The session of one client. It lives while the client sends heartbeats or uses its models or samplers.

    ``ended`` is the status of a session that is over. ``runs`` are the ids of its models, and of the
    copies of checkpoints that were made into it. ``numbered`` remembers the numbers that its requests
    have used.
    """

    id: str
    tags: list[str]
    user_metadata: dict[str, Any] | None
    project_id: str | None
    display_name: str | None
    created: str = field(default_factory=now)
    last_beat: float = field(default_factory=time.monotonic)
    ended: dict[str, Any] | None = None
    runs: list[str] = field(default_factory=list)
    samplers: list[str] = field(default_factory=list)
    numbered: Numbered = field(default_factory=Numbered)

    @property
    def status(self) -> dict[str, Any]:
        """Return the status as the JSON object of the protocol."""
        return self.ended or {"type": "active"}


@dataclass(eq=False)
class Model:
    """A model in training, and the queue of its requests."""

    id: str
    session: Session
    training: TrainingModel
    queue: OrderedQueue
    user_metadata: dict[str, Any] | None
    created: str = field(default_factory=now)
    last_request: str = field(default_factory=now)


@dataclass(eq=False)
class Sampler:
    """A sampling session: weights that do not change, and the clients that sample from them.

    A ``snapshot`` of None stands for the base model. ``logs`` maps the number of each client to the log of its
    finished samples.
    """

    id: str
    session: Session
    snapshot: Snapshot | None
    model_path: str | None
    numbered: Numbered = field(default_factory=Numbered)
    highest: int = -1
    clients: int = 0
    logs: dict[int, CompletionLog] = field(default_factory=dict)
    closed: bool = False
