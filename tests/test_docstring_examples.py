"""Every ``Example`` in a docstring of the package runs as it is written, against the embedded server."""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from pathlib import Path

import pytest
from programs import run_python

import tinkex
from tinkex import types

PACKAGE = Path(tinkex.__file__).parent


def examples() -> dict[str, str]:
    """The code after each ``Example::``, by the file and the name of what it documents."""
    found: dict[str, str] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            match = re.search(
                r"^Example::\n\n((?:    .*\n?|\n)+)", ast.get_docstring(node) or "", re.MULTILINE
            )
            if match is not None:
                found[f"{path.stem}:{getattr(node, 'name', 'module')}"] = textwrap.dedent(match[1])
    return found


EXAMPLES = examples()


def test_the_classes_that_users_meet_have_examples() -> None:
    assert EXAMPLES.keys() >= {
        "admin_client:AdminClient",
        "rest_client:RestClient",
        "sampling_client:SamplingClient",
        "service_client:ServiceClient",
        "session_manager:SessionManager",
        "supervisor:ClientSupervisor",
        "training_client:TrainingClient",
    }


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where an example may leave files
    if "def test_" in EXAMPLES[name]:
        header = "import tinkex\nfrom tinkex import types\n"
        (tmp_path / "test_it.py").write_text(header + EXAMPLES[name], encoding="utf-8")
        done = run_python("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py", cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        return
    # The drop-in, which one example installs, is not to be there for other tests.
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(sys, "path_hooks", list(sys.path_hooks))
    monkeypatch.setenv("TINKEX_FIRST_CONTACT_TIMEOUT", "0")
    try:
        exec(compile(EXAMPLES[name], f"<example of {name}>", "exec"), {"tinkex": tinkex, "types": types})
    finally:
        for module in [module for module in sys.modules if module.split(".")[0] == "tinker"]:
            del sys.modules[module]


def test_every_fixture_and_every_fault_has_an_example() -> None:
    faults = ("on", "fail_next", "delay", "drop", "truncate", "answer_with", "pause_capacity")
    changes = ("expire_session", "restart", "reset", "config", "TinkerServer")
    fixtures = ("tinkex_server", "tinkex_service", "tinkex_url")
    wanted = {f"faults:{name}" for name in faults} | {f"server:{name}" for name in changes}
    assert EXAMPLES.keys() >= wanted | {f"plugin:{name}" for name in fixtures} | {"cassette:cassette"}
