"""The drop-in: programs that import the official ``tinker`` SDK run on Tinkex as they are.

``tinkex.install_as_tinker()`` does it for the running program. ``python -m tinkex.compat SCRIPT.py ARGS`` and
``python -m tinkex.compat -m MODULE ARGS`` do it for a program that is not changed at all.
"""

from __future__ import annotations

import os
import sys

from tinkex.compat.modules import TinkerModules, listing

__all__ = ["install_as_tinker"]

FIRST_CONTACT_TIMEOUT = "300"
"""How long the official client waits for a server that refuses connections, in seconds. Child processes inherit it."""


def install_as_tinker() -> None:
    """Make ``import tinker``, and the import of any module of the official SDK, give Tinkex.

    Call it before anything imports ``tinker``. A second call does nothing. Raises ``ImportError`` if the official
    SDK has been imported already: what was imported from it would remain, and objects of both packages would mix.
    It is an ``ImportError`` because it concerns the modules of the program and no client or setting of Tinkex.

    While a server is only just starting, clients wait for it as long as the official client does.

    Example::

        import tinkex

        tinkex.install_as_tinker()

        import tinker

        service = tinker.ServiceClient(base_url="local://")
        print(service.get_server_capabilities().supported_models[0].model_name)
    """
    if any(isinstance(finder, TinkerModules) for finder in sys.meta_path):
        return
    imported = sys.modules.get("tinker")
    if imported is not None:
        where = getattr(imported, "__file__", None) or "unknown file"
        raise ImportError(
            f"the official tinker package is already imported ({where}): call tinkex.install_as_tinker() before "
            "the first 'import tinker', or run the program with 'python -m tinkex.compat'",
            name="tinker",
        )
    os.environ.setdefault("TINKEX_FIRST_CONTACT_TIMEOUT", FIRST_CONTACT_TIMEOUT)
    sys.meta_path.insert(0, TinkerModules())
    sys.path_hooks.append(listing)
