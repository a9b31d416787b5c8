"""Sessions: ``tinkex session``, and the search for them."""

from __future__ import annotations

import json
from pathlib import Path

from commands import Held, Tinkex

import tinkex


def test_session(tinkex_here: Tinkex, held: Held) -> None:
    listed = tinkex_here("session", "list", "-f", "json").json["sessions"]
    assert {"session_id": held.session, "display_name": "Blue night"}.items() <= listed[0].items()
    assert f"{held.session}\tsuccess\t" in tinkex_here("session", "list").out
    with tinkex.ServiceClient(base_url=held.url, display_name="still open"):
        assert "\tactive\t" in tinkex_here("session", "list", "--limit", "1").out
    assert "\tactive\t" not in tinkex_here("session", "list", "--limit", "1").out
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


def test_export_trace(tinkex_here: Tinkex, held: Held, tmp_path: Path) -> None:
    done = tinkex_here("session", "export-trace", held.session, "-f", "json").json
    trace = tmp_path / f"{held.session}.pftrace"
    assert done == {
        "session_id": held.session,
        "destination": trace.name,
        "file_size_bytes": trace.stat().st_size,
    }
    names = [event["name"] for event in json.loads(trace.read_bytes())["traceEvents"]]
    assert "saved weights/one" in names

    shown = tinkex_here("session", "export-trace", held.session, "-o", "new/one.pftrace")
    assert "file\tnew/one.pftrace\n" in shown.out
    assert (tmp_path / "new/one.pftrace").is_file()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["one.pftrace"]

    url = tinkex_here("session", "export-trace", held.session, "--url-only").out
    assert url.startswith(held.url)
    assert url.count("\n") == 1
    tinkex_here("session", "export-trace", "nobody").fails(1, "nobody")
