"""Addresses in the web console of the hosted service, where a person can look at sessions and checkpoints."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

CONSOLE = "https://tinker.thinkingmachines.ai"
_HOSTED = ("thinkingmachines.dev", "thinkingmachines.ai")


def page(base_url: str, *path: str) -> str:
    """Return the address of the console's page ``path``.

    Only the hosted service has a console. For another server it is the address of the same thing in its API.
    """
    host = urlsplit(base_url).hostname or ""
    hosted = any(host == domain or host.endswith("." + domain) for domain in _HOSTED)
    return "/".join([CONSOLE if hosted else f"{base_url}/api/v1", *(quote(part, safe=":") for part in path)])


def checkpoint(run: str, checkpoint_id: str) -> str:
    """Return the address of a checkpoint's page."""
    return f"{CONSOLE}/checkpoints/{quote(run, safe='')}/{quote(checkpoint_id, safe='')}"


def playground(tinker_path: str) -> str:
    """Return the address of the page on which a person can talk with a sampler checkpoint."""
    return f"{CONSOLE}/playground?mode=checkpoint&checkpoint={quote(tinker_path, safe='')}"
