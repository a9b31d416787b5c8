"""``python -m tinkex.compat``: a program that imports ``tinker`` runs as it is."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import programs
import pytest
from programs import Command

SCRIPT = """
import sys
import helper
import tinker

if __name__ == "__main__":
    print(sys.argv[1:], sys.path[0], __file__, tinker.ServiceClient.__module__)
    helper.end(sys.argv)
"""
HELPER = """
import sys
import tinker

def end(arguments):
    if "fail" in arguments:
        raise ValueError("the script failed")
    if "exit" in arguments:
        sys.exit(7)
"""
CHILDREN = """
import multiprocessing
import sys

import tinker

def work(number):
    import tinker
    return tinker.TensorData.__module__, number

if __name__ == "__main__":
    with multiprocessing.get_context(sys.argv[1]).Pool(1) as pool:
        print(pool.map(work, [1]))
"""


@pytest.fixture
def compat(tmp_path: Path) -> Command:
    """``compat(*arguments)`` runs ``python -m tinkex.compat`` in a folder beside that of the program."""
    folder = tmp_path / "programs"
    (folder / "package").mkdir(parents=True)
    for name, content in {
        "script.py": SCRIPT,
        "helper.py": HELPER,
        "children.py": CHILDREN,
        "wrong.py": "import tinker\nx = (\n",
        "package/__init__.py": "",
        "package/__main__.py": "import sys, tinker\nprint(sys.argv[1:], __name__, __package__)\n",
    }.items():
        (folder / name).write_text(content, "utf-8")
    return partial(programs.run_python, "-m", "tinkex.compat", cwd=tmp_path)


def test_a_script(compat: Command, tmp_path: Path) -> None:
    done = compat("programs/script.py", "one", "--two")
    folder = tmp_path / "programs"
    assert done.stdout == f"['one', '--two'] {folder} {folder / 'script.py'} tinkex.service_client\n"
    assert (done.returncode, done.stderr) == (0, "")


def test_its_exit_status(compat: Command) -> None:
    assert compat("programs/script.py", "exit").returncode == 7


def test_its_traceback_shows_the_script_alone(compat: Command) -> None:
    done = compat("programs/script.py", "fail")
    assert done.returncode == 1
    assert done.stderr.endswith("ValueError: the script failed\n")
    assert done.stderr.count('File "') == 2
    assert "tinkex" not in done.stderr


def test_an_error_of_syntax(compat: Command) -> None:
    done = compat("programs/wrong.py")
    assert done.returncode == 1
    assert "SyntaxError" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_module_and_a_folder(compat: Command, tmp_path: Path) -> None:
    done = compat("-m", "package", "-m", "x", cwd=tmp_path / "programs")
    assert (done.stdout, done.returncode) == ("['-m', 'x'] __main__ package\n", 0), done.stderr
    done = compat("programs/package", "x")
    assert (done.stdout, done.returncode) == ("['x'] __main__ \n", 0), done.stderr


def test_the_official_command_line(compat: Command) -> None:
    done = compat("-m", "tinker.cli", "version")
    assert done.stdout.startswith("tinkex "), done.stderr


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_child_processes(compat: Command, method: str) -> None:
    done = compat("programs/children.py", method)
    assert done.stdout == "[('tinkex.types.tensor_data', 1)]\n", done.stderr


def test_bad_usage(compat: Command) -> None:
    assert "usage:" in compat("--help").stdout
    for arguments in ([], ["-m"], ["--fast"]):
        done = compat(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert "usage:" in done.stderr
    missing = compat("nothing.py")
    assert missing.returncode == 2
    assert "nothing.py" in missing.stderr
