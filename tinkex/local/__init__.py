"""The embedded Tinker server, and the byte tokenizer of its model.

Everything here needs the extra ``local`` (``pip install 'tinkex[local]'``), except
``tinkex.local.byte_tokenizer``, which needs only the standard library.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tinkex._extras import install_command

if TYPE_CHECKING:
    from tinkex.local.server import LocalServer, embedded

__all__ = ["LocalServer", "embedded"]

KEY_VARIABLE = "TINKEX_LOCAL_API_KEY"
"""The environment variable from which ``tinkex serve`` and ``python -m tinkex.local`` read the key."""

_NEEDED = ("numpy", "waitress", "safetensors", "threadpoolctl")


def __getattr__(name: str) -> Any:
    """Import the server when it is first used, so that importing the tokenizer does not import numpy.

    Raises ``ImportError`` if the extra is not installed.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    missing = [module for module in _NEEDED if find_spec(module) is None]
    if missing:
        message = f"the embedded server needs {', '.join(missing)}: {install_command('local')}"
        raise ModuleNotFoundError(message, name=__name__)
    from tinkex.local import server

    return getattr(server, name)
