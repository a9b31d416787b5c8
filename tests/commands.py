"""The command line in this process, quick, with the streams and the status that a shell would see."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

KEY = "tml-the-key-of-these-tests"


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout."""
        return json.loads(self.out)

    def fails(self, status: int, *words: str) -> None:
        """Check that it failed so, in one line with these words in it."""
        assert self.status == status, self
        assert self.err.startswith("Error: "), self
        assert self.err.count("\n") == 1, self
        assert all(word in self.err for word in words), self


@dataclass(frozen=True)
class Held:
    """What a server holds: one run with three checkpoints, made in one session."""

    url: str
    session: str
    run: str
    state: str
    other: str
    sampler: str


Tinkex = Callable[..., Outcome]
