"""``python -m tinkex.compat SCRIPT.py ARGS`` and ``python -m tinkex.compat -m MODULE ARGS``.

The program runs as ``python SCRIPT.py ARGS`` or ``python -m MODULE ARGS`` would run it, except that ``import tinker``
gives Tinkex, in the program and in the child processes that it starts with ``multiprocessing``.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import runpy
import sys
from collections.abc import Callable
from multiprocessing import spawn
from types import ModuleType, TracebackType
from typing import Any

from tinkex.compat import install_as_tinker

USAGE = """usage: python -m tinkex.compat SCRIPT.py [ARGS]
       python -m tinkex.compat -m MODULE [ARGS]

Run a program that was written for the official tinker SDK, unchanged, on Tinkex.
"""


def main(arguments: list[str]) -> None:
    """Run the program that ``arguments`` names."""
    if arguments[:1] in (["-h"], ["--help"]):
        sys.stdout.write(USAGE)
        return
    by_name = arguments[:1] == ["-m"]
    program = arguments[by_name:]
    if not program or program[0].startswith("-"):
        sys.stderr.write(USAGE)
        raise SystemExit(2)
    install_as_tinker()
    _install_in_children()
    sys.excepthook = _show_error
    sys.argv = program
    if by_name:
        runpy.run_module(program[0], run_name="__main__", alter_sys=True)
    else:
        _run_script(program[0])


def _run_script(path: str) -> None:
    """Run a file as ``__main__``, or a folder or archive with a ``__main__.py``."""
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = os.path.dirname(os.path.realpath(path))
    if os.path.isdir(path) or (not path.endswith((".py", ".pyw")) and _is_archive(path)):
        del sys.path[0]
        runpy.run_path(path, run_name="__main__")
        return
    try:
        with io.open_code(os.path.abspath(path)) as file:
            code = compile(file.read(), path, "exec", dont_inherit=True)
    except OSError as error:
        sys.stderr.write(f"{sys.executable}: can't open file {path!r}: {error.strerror}\n")
        raise SystemExit(2) from None
    # The module stays ``__main__`` when the script has ended, because its threads may go on.
    module = ModuleType("__main__")
    module.__file__ = os.path.abspath(path)
    module.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = module
    exec(code, module.__dict__)


def _is_archive(path: str) -> bool:
    import zipfile

    return zipfile.is_zipfile(path)


class _Install:
    """Calls ``install_as_tinker`` where it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return install_as_tinker, ()


def _install_in_children() -> None:
    """Let child processes of ``multiprocessing`` that do not begin as a copy of this one use Tinkex too.

    Such a child first unpickles its preparation data, and then imports the main module. So the data get an entry whose
    unpickling installs the drop-in. The server from which ``forkserver`` forks must not import the main module
    itself, for it reads no such data.
    """
    prepare = spawn.get_preparation_data

    def get_preparation_data(name: str) -> dict[str, Any]:
        return {"tinkex": _Install(), **prepare(name)}

    spawn.get_preparation_data = get_preparation_data
    if "forkserver" in multiprocessing.get_all_start_methods():
        multiprocessing.get_context("forkserver").set_forkserver_preload([])


def _show_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show an error as Python does, without the lines of this module and of ``runpy`` above those of the program."""
    while trace is not None and trace.tb_frame.f_code.co_filename in (
        __file__,
        runpy.__file__,
        "<frozen runpy>",
    ):
        trace = trace.tb_next
    # An error of syntax has no line of the program, and ``sys.__excepthook__`` shows it without any.
    sys.__excepthook__(kind, error.with_traceback(trace), trace)


if __name__ == "__main__":
    main(sys.argv[1:])
