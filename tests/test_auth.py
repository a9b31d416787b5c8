"""``tinkex.auth``: whether there is a credential, and whether the server accepts it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tinkex
from tinkex import auth
from tinkex.testing import TinkerServer

KEY = "tml-a-key"


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    return tmp_path


def log_in(home: Path) -> None:
    (home / ".tinker").mkdir()
    stored = {"default": "k", "keys": {"k": {"key": "tml-stored"}}}
    (home / ".tinker" / "credentials.json").write_text(json.dumps(stored))


def test_the_environment_comes_before_the_stored_login(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (auth.get_tinker_token(), auth.tinker_has_credentials()) == (None, False)
    log_in(home)
    assert (auth.get_tinker_token(), auth.tinker_has_credentials()) == ("tml-stored", True)
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    assert (auth.get_tinker_token(), auth.tinker_has_credentials()) == (KEY, True)


@pytest.mark.parametrize("damaged", ["{", '{"default": "k", "keys": {"k": {}}}'])
def test_what_cannot_be_a_credential_is_none(
    home: Path, damaged: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(home)
    (home / ".tinker" / "credentials.json").write_text(damaged)
    assert (auth.get_tinker_token(), auth.tinker_has_credentials()) == (None, False)
    monkeypatch.setenv("TINKER_API_KEY", "no-key")
    assert (auth.get_tinker_token(), auth.tinker_has_credentials()) == (None, False)


def test_a_command_counts_and_is_not_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = home / "ran"
    monkeypatch.setenv("TINKER_CREDENTIAL_CMD", f"touch '{ran}'")
    assert (auth.get_tinker_token(), auth.tinker_has_credentials()) == (None, True)
    assert not ran.exists()


def test_a_server_that_answers_is_accessible(server: TinkerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKER_BASE_URL", server.url)
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    auth.raise_if_tinker_not_accessible()
    assert not server.requests.to("/create_session")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, tinkex.AuthenticationError),
        (402, tinkex.BillingError),
        (403, tinkex.PermissionDeniedError),
        (503, tinkex.InternalServerError),
    ],
)
def test_a_refusal_is_raised_at_once(
    server: TinkerServer, monkeypatch: pytest.MonkeyPatch, status: int, error: type[Exception]
) -> None:
    monkeypatch.setenv("TINKER_BASE_URL", server.url)
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    server.on("/get_server_capabilities", status)
    with pytest.raises(error):
        tinkex.auth.raise_if_tinker_not_accessible()
    assert len(server.requests.to("/get_server_capabilities")) == 1


def test_without_a_credential_nothing_is_asked(server: TinkerServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKER_BASE_URL", server.url)
    with pytest.raises(tinkex.ConfigError, match="no API key"):
        auth.raise_if_tinker_not_accessible()
    assert not len(server.requests)


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with TinkerServer() as gone:
        url = gone.url
    monkeypatch.setenv("TINKER_BASE_URL", url)
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    with pytest.raises(tinkex.APIConnectionError):
        auth.raise_if_tinker_not_accessible()
