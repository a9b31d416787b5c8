"""Sessions: ``tinkex session``, and the search for them."""

from __future__ import annotations

from commands import Held, Tinkex


def test_session(tinkex_here: Tinkex, held: Held) -> None:
    assert held.session in tinkex_here("session", "list", "-f", "json").json["sessions"]
    assert held.session in tinkex_here("session", "list").out.splitlines()
    shown = tinkex_here("session", "info", held.session, "-f", "json").json
    assert shown["training_run_ids"] == [held.run]
    assert "metadata team\tblue\n" in tinkex_here("session", "info", held.session).out
    tinkex_here("session", "info", "nobody").fails(1, "nobody")


def test_session_search(tinkex_here: Tinkex, held: Held) -> None:
    def found(*arguments: str) -> list[str]:
        answer = tinkex_here("session", "search", "-f", "json", "--limit", "0", *arguments).json
        return [session["session_id"] for session in answer["sessions"]]

    assert held.session in found("night", "BLUE")
    assert held.session in found("--metadata", "team=blue", "--project", "p-1", "--status", "success")
    assert found("--id", held.session) == [held.session]
    assert found("--metadata", "team=red") == []
    assert found("red") == []
    assert held.session in tinkex_here("session", "search", "--limit", "0").out
    tinkex_here("session", "search", "--metadata", "blue").fails(2, "NAME=VALUE")
