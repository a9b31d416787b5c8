"""Clients for tests: quick to try again, quick to give up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from servers import Request, ScriptedServer

from tinkex import types
from tinkex.config import Config


def config(server: ScriptedServer, **settings: Any) -> Config:
    """A config for ``server`` whose waits are short."""
    quick = {
        "api_key": "tml-test",
        "retry_delay": 0.001,
        "retry_delay_max": 0.01,
        "max_tries": 4,
        "telemetry": False,
    }
    return Config(base_url=server.url, **{**quick, **settings})


def datum(*tokens: int) -> types.Datum:
    """A datum for cross entropy: each token is to be predicted from those before it."""
    return types.Datum(
        types.ModelInput.from_ints(list(tokens[:-1])),
        {"target_tokens": list(tokens[1:]), "weights": [1.0] * (len(tokens) - 1)},
    )


def seq_ids(server: ScriptedServer, path: str = "*") -> list[int]:
    """The numbers of the requests that carry one, in the order of arrival."""
    numbered = []
    for request in server.requests.to(path):
        if request.headers.get("content-type") == "application/json":
            body = request.json()
            if "seq_id" in body:
                numbered.append(body["seq_id"])
    return numbered


def when(condition: Callable[[Request], bool], reply: Any) -> Callable[[Request], Any]:
    """A scripted reply for the requests that meet ``condition``; the default for others."""
    return lambda request: reply if condition(request) else None
