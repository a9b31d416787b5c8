"""``tinkex checkpoint delete`` asks first, and says what it could not delete."""

from __future__ import annotations

import pytest
from commands import Held, Tinkex


def test_deletion_asks_first(tinkex_here: Tinkex, held: Held) -> None:
    declined = tinkex_here("checkpoint", "delete", held.state, "-f", "json", stdin="n\n")
    assert declined.json == {"deleted_count": 0, "failed": []}
    assert held.state in declined.err
    silent = tinkex_here("checkpoint", "delete", held.state)
    assert (silent.status, silent.out) == (2, "")
    assert "--yes" in silent.err
    accepted = tinkex_here("checkpoint", "delete", held.state, "-f", "json", stdin="y\n")
    assert accepted.json == {"deleted_count": 1, "failed": []}
    tinkex_here("checkpoint", "info", held.state).fails(1, held.state)


def test_deletion_of_a_run_s_checkpoints(tinkex_here: Tinkex, held: Held) -> None:
    run = ("checkpoint", "delete", "--yes", "-f", "json", "--run-id", held.run)
    assert tinkex_here(*run, "--before", "2020-01-01").json["deleted_count"] == 0
    assert tinkex_here(*run, "--after", "2999-01-01T00:00:00Z").json["deleted_count"] == 0
    assert tinkex_here(*run, "--type", "sampler_weights", "--after", "2020-01-01").json["deleted_count"] == 1
    assert tinkex_here(*run).json["deleted_count"] == 2


def test_deletion_that_fails_says_which(tinkex_here: Tinkex, held: Held) -> None:
    missing = held.state + "x"
    failed = tinkex_here("checkpoint", "delete", "-y", held.state, missing, "-f", "json")
    failed.fails(1, missing)
    assert failed.json["deleted_count"] == 1
    assert [problem["tinker_path"] for problem in failed.json["failed"]] == [missing]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "--run-id"),
        (["tinker://a/weights/b", "--run-id", "a"], "--run-id"),
        (["tinker://a/weights/b", "--type", "weights"], "--run-id"),
        (["--run-id", "a", "--type", "heavy"], "heavy"),
        (["--run-id", "a", "--before", "yesterday"], "yesterday"),
        (["weights/b"], "tinker://"),
    ],
)
def test_deletion_badly_asked_for(tinkex_here: Tinkex, held: Held, arguments: list[str], word: str) -> None:
    tinkex_here("checkpoint", "delete", *arguments).fails(2, word)
