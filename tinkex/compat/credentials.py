"""The official SDK's classes for credentials. Clients of Tinkex find their credential without them."""

from __future__ import annotations

import asyncio
import os
import time
from abc import ABC, abstractmethod
from pathlib import Path

from tinkex.config import Config, check_key, stored_key
from tinkex.errors import ConfigError
from tinkex.http.auth import claims_of, command_credential

__all__ = [
    "ApiKeyAuthProvider",
    "AuthTokenProvider",
    "CredentialCmdAuthProvider",
    "resolve_auth_provider",
]


class AuthTokenProvider(ABC):
    """A source of the value of the ``X-API-Key`` header."""

    @abstractmethod
    async def get_token(self) -> str | None:
        """Return the present value. Raises ``ConfigError`` if there is none that a server would accept."""


class ApiKeyAuthProvider(AuthTokenProvider):
    """A fixed API key, or a JWT. Raises ``ConfigError`` if it has the form of neither."""

    def __init__(self, api_key: str) -> None:
        check_key(api_key)
        self._key = api_key

    @property
    def api_key(self) -> str:
        """The key."""
        return self._key

    @staticmethod
    def create_or_env(api_key: str | None = None) -> ApiKeyAuthProvider | None:
        """Return a provider of ``api_key``, or else of ``TINKER_API_KEY``, or None if neither is set."""
        key = api_key or os.environ.get("TINKER_API_KEY")
        return ApiKeyAuthProvider(key) if key else None

    @staticmethod
    def create_from_stored(path: str | os.PathLike[str] | None = None) -> ApiKeyAuthProvider | None:
        """Return a provider of the default key of the stored logins, or None. ``path`` is another file of logins."""
        key = stored_key(None if path is None else Path(path))
        return None if key is None else ApiKeyAuthProvider(key)

    async def get_token(self) -> str:
        """Return the key. Raises ``ConfigError`` if it is a JWT that has expired."""
        expiry = (claims_of(self._key) or {}).get("exp")
        if isinstance(expiry, (int, float)) and time.time() >= expiry:
            raise ConfigError(
                "the JWT has expired: pass a new one, or set TINKER_CREDENTIAL_CMD to a command that prints one"
            )
        return self._key


class CredentialCmdAuthProvider(AuthTokenProvider):
    """A shell command that prints a credential."""

    def __init__(self, cmd: str) -> None:
        if not cmd:
            raise ConfigError("set TINKER_CREDENTIAL_CMD to a command that prints a credential")
        self._command = cmd

    async def get_token(self) -> str:
        """Run the command, and return what it prints. Raises ``ConfigError`` if that is no credential."""
        return await asyncio.to_thread(command_credential(self._command).get)


def resolve_auth_provider(api_key: str | None, enforce_cmd: bool) -> AuthTokenProvider:  # noqa: FBT001
    """Return the provider of the credential that a client with ``api_key`` would use.

    That is ``api_key``, else ``TINKER_API_KEY``, else ``TINKER_CREDENTIAL_CMD``, else the stored login. With
    ``enforce_cmd`` it is the command, unless the key is a JWT. Raises ``ConfigError`` if there is none.
    """
    found = Config.from_env(api_key=api_key)
    key = found.api_key or ""
    if key.startswith("eyJ") or (key and not enforce_cmd):
        return ApiKeyAuthProvider(key)
    return CredentialCmdAuthProvider(found.credential_cmd or "")
