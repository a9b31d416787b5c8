"""Lists that page by themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import pytest
from listings import checkpoint, cursor, training_run

import tinkex
from tinkex import RestClient
from tinkex.testing import Request, TinkerServer


def paged(items: list[Any], name: str, total: bool) -> Callable[[Request], dict[str, Any]]:
    """A list that the server cuts into pages of at most three."""

    def answer(request: Request) -> dict[str, Any]:
        query = dict(parse_qsl(request.query))
        offset, limit = int(query["offset"]), min(3, int(query["limit"]))
        page: dict[str, Any] = {name: items[offset : offset + limit]}
        return {**page, "cursor": cursor(offset, limit, len(items))} if total else page

    return answer


def test_lists_page_by_themselves(client: RestClient, server: TinkerServer) -> None:
    runs = [training_run(f"run{number}") for number in range(10)]
    server.on("/training_runs", paged(runs, "training_runs", total=True))
    found = client.iter_training_runs("accessible", "p")
    assert [run.training_run_id for run in found] == [run["training_run_id"] for run in runs]
    requests = server.requests.to("/training_runs")
    assert [dict(parse_qsl(request.query))["offset"] for request in requests] == ["0", "3", "6", "9"]
    assert all("access_scope=accessible&project_id=p" in request.query for request in requests)

    checkpoints = [checkpoint(str(number)) for number in range(6)]
    server.on("/checkpoints", paged(checkpoints, "checkpoints", total=False))
    assert [found.checkpoint_id for found in client.iter_checkpoints(page_size=2)] == [
        checkpoint["checkpoint_id"] for checkpoint in checkpoints
    ]
    server.on("/sessions", paged([], "sessions", total=False))
    assert list(client.iter_sessions()) == []


def test_a_page_is_fetched_ahead(client: RestClient, server: TinkerServer) -> None:
    server.on("/sessions", paged([str(number) for number in range(9)], "sessions", total=False))
    found = client.iter_sessions()
    assert next(found) == "0"
    server.requests.wait_for("/sessions", 2)  # without asking for more than the first
    assert len(server.requests.to("/sessions")) == 2
    assert list(found) == [str(number) for number in range(1, 9)]


def test_a_list_that_moves_or_a_server_without_offsets(client: RestClient, server: TinkerServer) -> None:
    server.once("/sessions", {"sessions": ["a", "b"]}, {"sessions": ["b", "c"]})
    server.on("/sessions", {"sessions": ["c"]})
    assert list(client.iter_sessions()) == ["a", "b", "c"]
    server.on("/checkpoints", {"checkpoints": [checkpoint()]})
    assert len(list(client.iter_checkpoints())) == 1
    server.on("/training_runs", 403)
    with pytest.raises(tinkex.PermissionDeniedError):
        next(client.iter_training_runs())
