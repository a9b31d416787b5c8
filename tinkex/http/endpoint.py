"""Turns the base URL of a config into an HTTP address, starting the embedded server if necessary."""

from __future__ import annotations

import importlib

from tinkex.config import Config


def resolve(config: Config) -> tuple[str, str | None]:
    """Return the HTTP address and the API key for ``config``.

    For ``local://`` the embedded server is started, if it does not run yet.
    """
    if not config.is_local:
        return config.base_url, config.api_key
    # Imported by name, because the layer of the embedded server is above this one, and it needs packages that
    # the client does not.
    local = importlib.import_module("tinkex.local")
    server = local.embedded(config.local_directory, models=config.local_models, strict=config.local_strict)
    return server.base_url, server.api_key
