"""How to install the optional dependencies: the command that works for the interpreter that runs this program."""

from __future__ import annotations

import re
import shlex
import sys


def install_command(extra: str) -> str:
    """Return the shell command that installs what the extra ``extra`` of this package needs.

    The command names the packages themselves, not ``tinkex[extra]``, because it must also work where Tinkex was
    installed from a checkout, a wheel or a git URL, which pip would not find again by name.
    """
    from importlib import metadata

    try:
        declared = metadata.requires("tinkex") or []
    except metadata.PackageNotFoundError:  # the package is used from its source, without being installed
        declared = []
    found = [_OF_AN_EXTRA.fullmatch(line) for line in declared]
    wanted = [match["requirement"].strip() for match in found if match and match["extra"] == extra]
    packages = " ".join(shlex.quote(one) for one in wanted) or shlex.quote(f"tinkex[{extra}]")
    return f"{shlex.quote(sys.executable or 'python')} -m pip install {packages}"


_OF_AN_EXTRA = re.compile(r"""(?P<requirement>[^;]+);.*\bextra\s*==\s*["'](?P<extra>[\w-]+)["'].*""")
