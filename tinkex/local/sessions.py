"""Sessions, and the models and samplers that belong to them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from tinkex.local.model.offered import OfferedModel
from tinkex.local.model.training import Snapshot, TrainingModel
from tinkex.local.work.completions import CompletionLog
from tinkex.local.work.numbered import Numbered
from tinkex.local.work.ordered_queue import OrderedQueue

logger = logging.getLogger("tinkex.local")


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
    """A model in training, its base model, and the queue of its requests.

    ``saved`` is whether a checkpoint of it was ever saved, and ``shift_warned`` whether its client was warned of
    targets that are not the input shifted by one.
    """

    id: str
    session: Session
    base: OfferedModel
    training: TrainingModel
    queue: OrderedQueue
    user_metadata: dict[str, Any] | None
    saved: bool = False
    shift_warned: bool = False
    created: str = field(default_factory=now)
    last_request: str = field(default_factory=now)


def forgotten_saves(models: Iterable[Model]) -> list[str]:
    """Return a warning for each model that was trained and of which nothing was ever saved, and log it."""
    texts = [
        f"model {model.id} ({model.base.name}) was trained and never saved, and is lost now. Its optimizer has taken "
        f"{model.training.steps} steps; call save_state or save_weights_for_sampler before the session ends"
        for model in models
        if model.training.steps and not model.saved
    ]
    for text in texts:
        logger.warning("%s", text)
    return texts


@dataclass(eq=False)
class Sampler:
    """A sampling session: weights that do not change, and the clients that sample from them.

    ``logs`` maps the number of each client to the log of its finished samples.
    """

    id: str
    session: Session
    base: OfferedModel
    snapshot: Snapshot
    model_path: str | None
    numbered: Numbered = field(default_factory=Numbered)
    highest: int = -1
    clients: int = 0
    logs: dict[int, CompletionLog] = field(default_factory=dict)
    closed: bool = False
