"""``tinkex checkpoint``: lists, one checkpoint, publishing and expiry."""

from __future__ import annotations

from typing import Any

import pytest
from commands import Held, Tinkex


def test_checkpoint_list(tinkex_here: Tinkex, held: Held) -> None:
    listed = tinkex_here("checkpoint", "list", "--run-id", held.run, "--format", "json").json
    assert listed["run_id"] == held.run
    assert {found["tinker_path"] for found in listed["checkpoints"]} == {held.state, held.other, held.sampler}

    assert len(tinkex_here("-f", "json", "checkpoint", "list", "--limit", "2").json["checkpoints"]) == 2
    everything = tinkex_here("checkpoint", "list", "--limit", "0")
    assert everything.status == 0
    assert everything.err == ""
    heading, *rows = everything.out.splitlines()
    assert heading.split("\t")[:2] == ["path", "type"]
    assert held.state in [row.split("\t")[0] for row in rows]


def test_lists_longer_than_a_page_come_whole(
    tinkex_here: Tinkex, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinkex.cli.listing.PAGE", 2)
    for limit, expected in (("0", 3), ("3", 3), ("2", 2), ("1", 1)):
        listed = tinkex_here("checkpoint", "list", "--limit", limit, "-f", "json").json["checkpoints"]
        paths = {found["tinker_path"] for found in listed}
        assert len(paths) == len(listed) >= expected
        assert limit == "0" or len(listed) == expected


def test_checkpoint_info(tinkex_here: Tinkex, held: Held) -> None:
    shown = tinkex_here("checkpoint", "info", held.state, "-f", "json").json
    assert shown["tinker_path"] == held.state
    assert shown["lora_rank"] == 2
    assert f"path\t{held.state}\n" in tinkex_here("checkpoint", "info", held.state).out
    tinkex_here("checkpoint", "info", held.state + "x").fails(1, held.state + "x", "checkpoint list")
    tinkex_here("checkpoint", "info", "tinker://nobody/weights/x").fails(1, "nobody", "'list'")
    tinkex_here("checkpoint", "info", "weights/one").fails(2, "tinker://run/weights/name")


def test_publishing_and_expiry(tinkex_here: Tinkex, held: Held) -> None:
    def state() -> Any:
        return tinkex_here("checkpoint", "info", held.state, "-f", "json").json

    done = tinkex_here("checkpoint", "publish", held.state, "-f", "json").json
    assert done == {"checkpoint_path": held.state, "public": True}
    assert state()["public"] is True
    assert "private" in tinkex_here("checkpoint", "unpublish", held.state).out
    assert state()["public"] is False

    done = tinkex_here("checkpoint", "set-ttl", held.state, "--ttl", "7200", "-f", "json").json
    assert done == {"checkpoint_path": held.state, "ttl_seconds": 7200}
    assert state()["expires_at"] is not None
    assert "does not expire" in tinkex_here("checkpoint", "set-ttl", held.state, "--remove").out
    assert state()["expires_at"] is None

    tinkex_here("checkpoint", "set-ttl", held.state).fails(2, "--ttl", "--remove")
    tinkex_here("checkpoint", "set-ttl", held.state, "--ttl", "9", "--remove").fails(2, "--ttl", "--remove")
    tinkex_here("checkpoint", "set-ttl", held.state, "--ttl", "0").fails(2, "--ttl")
    tinkex_here("checkpoint", "set-ttl", held.state, "--ttl", "9").fails(1, "ttl_seconds", "3600")
