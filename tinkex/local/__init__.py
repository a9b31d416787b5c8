"""The embedded Tinker server, and the byte tokenizer of its model.

`tinkex.local.byte_tokenizer` needs nothing; everything else needs the extra: `pip install 'tinkex[local]'`.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .server import LocalServer, embedded

__all__ = ["LocalServer", "embedded"]

_NEEDED = ("numpy", "flask", "waitress", "safetensors", "threadpoolctl")


def __getattr__(name: str) -> Any:
    """Load the server when it is first asked for, so that the tokenizer alone loads nothing.

    Raises:
        ImportError: the extra is not installed.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    missing = [module for module in _NEEDED if find_spec(module) is None]
    if missing:
        message = f"the embedded server needs {', '.join(missing)}: pip install 'tinkex[local]'"
        raise ModuleNotFoundError(message, name=__name__)
    from . import server

    return getattr(server, name)
