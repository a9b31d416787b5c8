"""Checks to make before work that needs a credential: whether there is one, and whether the server accepts it.

A client does not need these checks: it finds its credential by itself, and raises an error if there is none.
"""

from __future__ import annotations

from tinkex.config import Config, stored_key
from tinkex.errors import ConfigError

__all__ = ["get_tinker_token", "raise_if_tinker_not_accessible", "tinker_has_credentials"]


def get_tinker_token() -> str | None:
    """Return the API key of the environment or of the stored login; None if there is none, or a malformed one.

    ``TINKER_CREDENTIAL_CMD`` is not run, and nothing is sent.
    """
    try:
        return Config.from_env().api_key or stored_key()
    except ConfigError:
        return None


def tinker_has_credentials() -> bool:
    """Return whether a client would find a credential, or needs none. Nothing is run or sent."""
    try:
        Config.from_env()
    except ConfigError:
        return False
    return True


def raise_if_tinker_not_accessible() -> None:
    """Send one request without a session, and return if the server answers it.

    Raises ``ConfigError`` if there is no credential, ``AuthenticationError`` or ``PermissionDeniedError`` if
    the server refuses it, ``BillingError`` if the account cannot be billed, and ``APIConnectionError`` if the
    server cannot be reached.
    """
    from tinkex.rest_client import RestClient

    with RestClient(config=Config.from_env(max_tries=1)) as client:
        client.get_server_capabilities().result()
