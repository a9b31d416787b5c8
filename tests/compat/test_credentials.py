"""``ApiKeyAuthProvider`` and ``resolve_auth_provider`` of ``tinker.auth``."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path

import pytest

import tinkex
from tinkex.compat.credentials import ApiKeyAuthProvider, resolve_auth_provider
from tinkex.compat.modules import find

KEY = "tml-a-key"


def jwt(expiry: int) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": expiry}).encode()).decode()
    return f"eyJhbGciOiJub25lIn0.{claims}.s"


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    return tmp_path


def log_in(folder: Path) -> Path:
    path = folder / ".tinker" / "credentials.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"default": "k", "keys": {"k": {"key": "tml-stored"}}}))
    return path


def test_they_are_names_of_tinker_auth() -> None:
    assert find("tinker.auth", "ApiKeyAuthProvider") is ApiKeyAuthProvider
    assert find("tinker.auth", "resolve_auth_provider") is resolve_auth_provider


def test_a_key_comes_from_the_argument_the_environment_or_the_stored_login(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ApiKeyAuthProvider.create_or_env() is ApiKeyAuthProvider.create_from_stored() is None
    stored = ApiKeyAuthProvider.create_from_stored(log_in(home / "elsewhere"))
    assert stored is not None
    assert stored.api_key == "tml-stored"
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    for given, key in ((None, KEY), ("tml-other", "tml-other")):
        made = ApiKeyAuthProvider.create_or_env(given)
        assert made is not None
        assert made.api_key == asyncio.run(made.get_token()) == key


def test_a_key_of_another_form_is_refused_without_being_shown() -> None:
    with pytest.raises(tinkex.TinkerError) as refused:
        ApiKeyAuthProvider("sk-secret")
    assert "secret" not in str(refused.value)


def test_a_jwt_that_has_expired_is_refused() -> None:
    valid, expired = jwt(2**40), jwt(1)
    assert asyncio.run(ApiKeyAuthProvider(valid).get_token()) == valid
    with pytest.raises(tinkex.ConfigError, match="expired"):
        asyncio.run(ApiKeyAuthProvider(expired).get_token())


def test_the_provider_is_that_of_the_credential_of_a_client(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def token(api_key: str | None = None, enforce_cmd: bool = False) -> str | None:
        return asyncio.run(resolve_auth_provider(api_key, enforce_cmd).get_token())

    monkeypatch.delenv("TINKER_BASE_URL", raising=False)
    with pytest.raises(tinkex.TinkerError, match="key"):
        resolve_auth_provider(api_key=None, enforce_cmd=False)
    log_in(home)
    assert token() == "tml-stored"
    monkeypatch.setenv("TINKER_CREDENTIAL_CMD", "echo printed")
    assert token() == "printed"
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    assert token() == KEY
    assert token("tml-other") == "tml-other"
    assert token(enforce_cmd=True) == "printed"
    assert token(jwt(2**40), enforce_cmd=True) == jwt(2**40)
    monkeypatch.delenv("TINKER_CREDENTIAL_CMD")
    with pytest.raises(tinkex.TinkerError, match="TINKER_CREDENTIAL_CMD"):
        resolve_auth_provider(None, enforce_cmd=True)
