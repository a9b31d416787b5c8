"""``tinkex auth``, and the login that it keeps, which both tools read."""

from __future__ import annotations

import base64
import json
import stat
import sys
from pathlib import Path

import pytest
from commands import KEY, Tinkex

import tinkex
from tinkex.local import LocalServer
from tinkex.testing import Reply, Request, TinkerServer

ABOUT_THE_KEY = {
    "key_id": 77,
    "name": "laptop",
    "note": "",
    "details": {"org_details": {"name": "Ink"}, "user_details": {"email": "ada@example.org"}},
    "more": "of a later server",
}


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """Where the login is kept; ``tmp_path`` is the home of ``tinkex_here``."""
    return tmp_path / ".tinker" / "credentials.json"


def test_login_use_and_logout(tinkex_here: Tinkex, stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalServer(api_key=KEY) as server:
        monkeypatch.setenv("TINKER_BASE_URL", server.base_url)
        tinkex_here("run", "list").fails(2, "no API key")
        no = tinkex_here("auth", "status", "-f", "json")
        no.fails(1, "tinkex auth login")
        assert no.json["credentials_available"] is False

        done = tinkex_here("auth", "login", "-f", "json", stdin=f"{KEY}\n")
        assert done.json["logged_in"] is True
        if sys.platform != "win32":
            assert stat.S_IMODE(stored.stat().st_mode) == 0o600
            assert stat.S_IMODE(stored.parent.stat().st_mode) == 0o700
        assert [path.name for path in stored.parent.iterdir()] == ["credentials.json"]

        assert tinkex_here("run", "list", "-f", "json").json == {"runs": []}
        yes = tinkex_here("auth", "status", "-f", "json")
        assert yes.status == 0
        assert yes.json["source"] == "stored login"
        assert yes.json["accessible"] is True
        assert "from\tstored login\n" in tinkex_here("auth", "status").out
        tinkex_here("auth", "login", stdin=f"{KEY}\n").fails(1, "tinkex auth logout")
        tinkex_here("auth", "whoami").fails(1, "does not tell")

        assert tinkex_here("auth", "logout", "-f", "json").json["logged_in"] is False
        assert KEY not in stored.read_text()
        tinkex_here("run", "list").fails(2, "no API key")
        tinkex_here("auth", "logout").fails(1, "tinkex auth login")


def test_what_the_server_says_of_the_key_is_kept(
    tinkex_here: Tinkex, stored: Path, server: TinkerServer
) -> None:
    server.on("/auth/apikey/me", ABOUT_THE_KEY)
    done = tinkex_here("auth", "login", "--base-url", server.url, stdin=KEY)
    assert "ada@example.org (Ink)" in done.out
    record = {
        "type": "manual",
        "key": KEY,
        **{name: ABOUT_THE_KEY[name] for name in ("name", "note", "details")},
    }
    assert json.loads(stored.read_text()) == {"version": 1, "default": "77", "keys": {"77": record}}
    assert "laptop" in tinkex_here("auth", "logout").out


def test_whoami(tinkex_here: Tinkex, server: TinkerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = {"sub": "tml:user:1", "org_id": "2", "email": "ada@example.org"}
    token = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    server.on("/auth/token", {"jwt": f"eyJ.{token}.x"})
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    shown = tinkex_here("auth", "whoami", "--base-url", server.url, "-f", "json")
    assert shown.json == {
        "user_urn": "tml:user:1",
        "org_urn": "tml:organization:2",
        "email": "ada@example.org",
    }
    assert "email\tada@example.org\n" in tinkex_here("auth", "whoami", "--base-url", server.url).out


def test_a_key_that_is_refused_is_not_kept(tinkex_here: Tinkex, stored: Path, server: TinkerServer) -> None:
    def refuse(request: Request) -> Reply:
        return Reply(401, {"detail": f"unknown key {request.headers['x-api-key']}"})

    server.on("/auth/apikey/me", refuse)
    refused = tinkex_here("auth", "login", "--base-url", server.url, stdin=KEY)
    refused.fails(1, "401")
    assert not stored.exists()
    tinkex_here("auth", "login", "--base-url", server.url, stdin="").fails(2, "standard input")
    odd = tinkex_here("auth", "login", "--base-url", server.url, stdin="secret words")
    odd.fails(2, "malformed")
    assert "secret words" not in odd.err


def test_other_keys_of_the_file_are_left_alone(
    tinkex_here: Tinkex, stored: Path, server: TinkerServer
) -> None:
    other = {"type": "generated", "key": "tml-other", "name": "other", "details": ABOUT_THE_KEY["details"]}
    stored.parent.mkdir()
    stored.write_text(json.dumps({"version": 1, "keys": {"5": other}}))
    tinkex_here("run", "list", "--base-url", server.url).fails(2, "no API key")
    server.on("/auth/apikey/me", ABOUT_THE_KEY)
    assert tinkex_here("auth", "login", "--base-url", server.url, stdin=KEY).status == 0
    assert tinkex_here("auth", "logout").status == 0
    assert json.loads(stored.read_text()) == {"version": 1, "keys": {"5": other}}


def test_arguments_and_the_environment_come_before_the_login(
    tinkex_here: Tinkex, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored.parent.mkdir()
    record = {"type": "manual", "key": KEY, "name": "x"}
    stored.write_text(json.dumps({"version": 1, "default": "x", "keys": {"x": record}}))
    assert tinkex.Config.from_env().api_key == KEY
    assert tinkex.Config.from_env(api_key="tml-mine").api_key == "tml-mine"
    assert tinkex.Config.from_env(credential_cmd="true").api_key is None
    assert tinkex.Config.from_env(base_url="local://").api_key is None
    monkeypatch.setenv("TINKER_API_KEY", "tml-env")
    assert tinkex.Config.from_env().api_key == "tml-env"


@pytest.mark.parametrize(
    "content", [f'["{KEY}"', f'["{KEY}"]', f'{{"version": 1, "keys": "{KEY}", "default": "a"}}']
)
def test_a_damaged_file_is_named_and_not_shown(tinkex_here: Tinkex, stored: Path, content: str) -> None:
    stored.parent.mkdir()
    stored.write_text(content)
    tinkex_here("run", "list").fails(2, str(stored), "delete it")
    tinkex_here("auth", "logout").fails(1, str(stored), "delete it")
    with pytest.raises(tinkex.ConfigError) as caught:
        tinkex.Config.from_env()
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert tinkex.Config.from_env(base_url="local://").is_local
