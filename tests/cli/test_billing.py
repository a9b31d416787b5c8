"""Usage and storage: ``tinkex billing``."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from commands import KEY, Held, Tinkex

from tinkex.testing import TinkerServer

WINDOW = ("2026-07-13T00:00:00Z", "2026-07-14T00:00:00Z")
HOUR = {"bucket_start": "2026-07-13T00:00:00Z", "bucket_end": "2026-07-13T01:00:00Z", "session_id": "s-1"}
USAGE = {
    "data": [
        {
            **HOUR,
            "event_info": {"type": "training", "token_count": 512},
            "estimated_cost_usd": 0.25,
            "effective_rate_usd_per_million_tokens": 488.28,
        },
        {**HOUR, "event_info": {"type": "storage", "gigabyte_hours": 1.5, "free": False}},
        {**HOUR, "event_info": {"type": "checkpoint", "count": 2}},
    ],
    "sessions": {"s-1": {"user_metadata": {"team": "blue"}}, "s-2": {}},
    "cost_data_through": "2026-07-13T00:00:00Z",
}


@pytest.fixture
def billed(server: TinkerServer, monkeypatch: pytest.MonkeyPatch) -> TinkerServer:
    """A server on which something was used."""
    monkeypatch.setenv("TINKER_BASE_URL", server.url)
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    server.on("/billing/usage/events", USAGE)
    return server


def rows(text: str) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_usage_as_a_table(billed: TinkerServer, tinkex_here: Tinkex) -> None:
    lines = [line.split("\t") for line in tinkex_here("billing", "usage", *WINDOW).out.splitlines()]
    training, storage, checkpoint = (dict(zip(lines[0], line)) for line in lines[1:])
    assert (training["type"], training["token_count"], training["estimated_cost_usd"]) == (
        "training",
        "512",
        "0.25",
    )
    # A cost that is not known yet is null; one that does not exist is empty.
    assert storage["estimated_cost_usd"] == "null"
    assert storage["effective_rate_usd_per_gigabyte_month"] == "null"
    assert storage["effective_rate_usd_per_million_tokens"] == ""
    assert (checkpoint["count"], checkpoint["estimated_cost_usd"]) == ("2", "")


def test_usage_as_json_and_as_csv(billed: TinkerServer, tinkex_here: Tinkex, tmp_path: Path) -> None:
    found = tinkex_here("billing", "usage", *WINDOW, "-f", "json").json
    assert found["data"][0]["event_info"]["token_count"] == 512
    assert found["sessions"]["s-1"] == {"user_metadata": {"team": "blue"}}

    used = rows(tinkex_here("billing", "usage", *WINDOW, "--csv", "-").out)
    assert [row["type"] for row in used] == ["training", "storage", "checkpoint"]
    assert used[1]["estimated_cost_usd"] == ""
    both = tinkex_here("billing", "usage", *WINDOW, "--csv", "usage.csv", "--sessions-csv", "sessions.csv")
    assert both.out == ""
    assert rows((tmp_path / "usage.csv").read_text("utf-8")) == used
    assert rows((tmp_path / "sessions.csv").read_text("utf-8")) == [
        {"session_id": "s-1", "user_metadata": '{"team": "blue"}'},
        {"session_id": "s-2", "user_metadata": ""},
    ]


def test_the_embedded_server_bills_nothing(tinkex_here: Tinkex, held: Held) -> None:
    assert tinkex_here("billing", "usage", *WINDOW, "-f", "json").json["data"] == []
    tinkex_here("billing", "usage", "yesterday", "today").fails(2, "starting_on", "yesterday")


def test_checkpoint_storage(tinkex_here: Tinkex, held: Held, tmp_path: Path) -> None:
    found = tinkex_here("billing", "checkpoint-storage", "--project-id", "p-1", "-f", "json").json
    assert found["data"][0]["checkpoint_count"] >= 3
    assert (
        tinkex_here("billing", "checkpoint-storage", "--project-id", "p-2", "-f", "json").json["data"] == []
    )
    table = tinkex_here("billing", "checkpoint-storage").out.splitlines()
    assert table[0].startswith("effective_rate_usd_per_gigabyte_month\t")
    tinkex_here("billing", "checkpoint-storage", "--csv", "storage.csv")
    (stored,) = rows((tmp_path / "storage.csv").read_text("utf-8"))
    assert stored["project_id"] == "p-1"
