"""The checkpoints that ``train`` and ``quickstart`` saved under a name, so that other commands find them by it.

Each has a file in ``~/.tinkex/saved``. A name without one is looked up in the list of the server.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tinkex.cli.failures import CallFailed
from tinkex.config import LOCAL_SCHEME, named_base_url

if TYPE_CHECKING:
    from tinkex.cli.call import Call

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:+=@-]{0,150}")


@dataclass(frozen=True)
class Saved:
    """A checkpoint for samplers, the server that has it, and how to talk to it."""

    path: str
    base_url: str | None = None
    """None stands for the server that a command would use anyway."""
    state_path: str | None = None
    """The checkpoint with the optimizer, from which training can go on."""
    tokenizer: str | None = None
    chat: bool = False
    """Whether it has learned conversations, so that a prompt is a message of the user."""
    chat_template: str | None = None


def is_name(text: str) -> bool:
    """Return whether ``text`` can be the name of a saved checkpoint, and so is no path."""
    return _NAME.fullmatch(text) is not None


def name_option(text: str) -> str:
    """Return a name for a checkpoint, as an option gives it. Raises ``click.BadParameter``."""
    if not is_name(text):
        raise click.BadParameter(
            "a name has letters, digits and _ . : + = @ -, at most 151, and starts with no . or -"
        )
    return text


def lasting(url: str | None, name: str) -> str | None:
    """Return ``url``; or for an embedded server without a folder, one with a folder for ``name``.

    What is in memory alone would not outlive this process.
    """
    scheme = f"{LOCAL_SCHEME}://"
    if url is None or url.partition("?")[0] != scheme:
        return url
    return f"{scheme}{_home() / 'local' / _file_name(name)}{url.removeprefix(scheme)}"


def keep(name: str, saved: Saved) -> None:
    """Remember what ``name`` stands for, in place of what it stood for before."""
    file = _home() / "saved" / f"{_file_name(name)}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.new")
    draft.write_text(json.dumps(asdict(saved), indent=2), encoding="utf-8")
    os.replace(draft, file)


def find(call: Call, name: str) -> Saved:
    """Return the checkpoint that ``name`` stands for: a path of a checkpoint, or the name of a saved one.

    With ``--base-url`` or ``TINKER_BASE_URL`` it is looked up on that server, unless it is known to be there. Raises
    ``CallFailed`` if there is none.
    """
    if "://" in name:
        return Saved(name)
    url = call.base_url or named_base_url()
    try:
        known = Saved(**json.loads((_home() / "saved" / f"{_file_name(name)}.json").read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        known = None
    if known is not None and (url is None or known.base_url in (None, url.rstrip("/"))):
        return known
    if known is not None and known.base_url is not None and known.base_url.startswith(LOCAL_SCHEME + ":"):
        # A checkpoint in a folder is found whatever server is named, unless that server has one of this name.
        return _on_server(call, name) or known
    found = _on_server(call, name)
    if found is None:
        raise CallFailed(f"there is no checkpoint {name!r}: 'tinkex checkpoint list' shows all")
    # The path may be another one than when it was saved, but what it was trained on is the same.
    return found if known is None else replace(known, path=found.path, state_path=None, base_url=None)


def _on_server(call: Call, name: str) -> Saved | None:
    with call.rest() as client:
        found = [
            checkpoint
            for checkpoint in client.iter_checkpoints()
            if checkpoint.checkpoint_id == f"sampler_weights/{name}"
        ]
    newest = max(found, key=lambda checkpoint: str(checkpoint.time), default=None)
    return None if newest is None else Saved(newest.tinker_path)


def _home() -> Path:
    return Path.home() / ".tinkex"


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.=@+-]", "_", name)
