"""Every ``Example`` in a docstring of the public classes runs as it is written, against the embedded server."""

from __future__ import annotations

import inspect
import re
import textwrap
from pathlib import Path

import pytest

import tinkex
from tinkex import types


def examples() -> dict[str, str]:
    """The code after each ``Example::``, by the name of what it documents."""
    found = {}
    for name in sorted(set(tinkex.__all__)):
        documented = {name: getattr(tinkex, name)}
        if inspect.isclass(documented[name]):
            documented.update({f"{name}.{member}": value for member, value in vars(documented[name]).items()})
        for label, value in documented.items():
            doc = inspect.getdoc(value) or ""
            for match in re.finditer(r"^Example::\n\n((?:    .*\n?|\n)+)", doc, re.MULTILINE):
                found[label] = textwrap.dedent(match[1])
    return found


EXAMPLES = examples()


def test_the_main_clients_have_examples() -> None:
    shown = {label.partition(".")[0] for label in EXAMPLES}
    assert shown >= {
        "AdminClient",
        "ClientSupervisor",
        "RestClient",
        "SamplingClient",
        "ServiceClient",
        "SessionManager",
        "TrainingClient",
    }


@pytest.mark.parametrize("label", EXAMPLES)
def test_an_example_runs(label: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where a download goes
    exec(compile(EXAMPLES[label], f"<example of {label}>", "exec"), {"tinkex": tinkex, "types": types})
