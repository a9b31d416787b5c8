"""Where a base URL really leads."""

from __future__ import annotations

import importlib

from tinkex.config import Config


def resolve(config: Config) -> tuple[str, str | None]:
    """``(http address, key)`` of ``config``; ``local://`` starts the embedded server if it does not run yet."""
    if not config.is_local:
        return config.base_url, config.api_key
    # By name, for the embedded server stands above this floor: it is a face of the package, as the command
    # line is, and needs packages that the client does not.
    local = importlib.import_module("tinkex.local")
    server = local.embedded(config.local_directory)
    return server.base_url, server.api_key
