"""For the tests of programs that use Tinkex: a server that misbehaves on command, and recorded traffic.

``TinkerServer`` needs the extra ``testing`` (``pip install 'tinkex[testing]'``). With pytest there are the fixtures
``tinkex_server``, ``tinkex_service`` and ``tinkex_url``; see ``tinkex.testing.plugin``. ``cassette`` needs no extra.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tinkex._extras import install_command

if TYPE_CHECKING:
    from tinkex.testing.cassettes.cassette import Cassette, cassette
    from tinkex.testing.cassettes.file import CassetteError
    from tinkex.testing.replies import Hang, Reply, Reset, Truncated
    from tinkex.testing.requests import Body, Request
    from tinkex.testing.rules import Fault
    from tinkex.testing.server import TinkerServer

__all__ = [
    "Body",
    "Cassette",
    "CassetteError",
    "Fault",
    "Hang",
    "Reply",
    "Request",
    "Reset",
    "TinkerServer",
    "Truncated",
    "cassette",
]

_MODULES = {
    "Body": "requests",
    "Cassette": "cassettes.cassette",
    "CassetteError": "cassettes.file",
    "Fault": "rules",
    "Hang": "replies",
    "Reply": "replies",
    "Request": "requests",
    "Reset": "replies",
    "TinkerServer": "server",
    "Truncated": "replies",
    "cassette": "cassettes.cassette",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first used, since pytest imports this package in every run."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.{_MODULES[name]}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "tinkex":
            raise
        message = f"tinkex.testing.{name} needs {error.name}: {install_command('testing')}"
        raise ModuleNotFoundError(message, name=error.name) from None
    return getattr(module, name)
