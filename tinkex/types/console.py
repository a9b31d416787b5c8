"""Where a person can look at what is on the server: the web console of the hosted service."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

CONSOLE = "https://tinker.thinkingmachines.ai"
_HOSTED = ("thinkingmachines.dev", "thinkingmachines.ai")


def page(base_url: str, *path: str) -> str:
    """The console's page ``path``; for a server without a console, the address where its API tells the same."""
    host = urlsplit(base_url).hostname or ""
    hosted = any(host == domain or host.endswith("." + domain) for domain in _HOSTED)
    return "/".join([CONSOLE if hosted else f"{base_url}/api/v1", *(quote(part, safe=":") for part in path)])


def checkpoint(run: str, checkpoint_id: str) -> str:
    """The console's page of a checkpoint."""
    return f"{CONSOLE}/checkpoints/{quote(run, safe='')}/{quote(checkpoint_id, safe='')}"


def playground(tinker_path: str) -> str:
    """The console's page to talk with a checkpoint for samplers."""
    return f"{CONSOLE}/playground?mode=checkpoint&checkpoint={quote(tinker_path, safe='')}"
