"""Both packages have the same names, signatures and defaults, but for the table in ``docs/moving-from-tinker.md``."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from conformance.surface import differences, official_modules

PAGE = Path(__file__).parents[2] / "docs" / "moving-from-tinker.md"


def deliberate() -> list[str]:
    """The patterns of the table's first column; ``*`` stands for any text."""
    rows = re.findall(r"^\| (`.*`) \| (.+) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert rows
    return [
        pattern for names, reason in rows if len(reason) > 20 for pattern in re.findall(r"`([^`]+)`", names)
    ]


@pytest.fixture(scope="module")
def found() -> list[str]:
    return differences()


def matches(difference: str, pattern: str) -> bool:
    return fnmatchcase(difference.partition(": ")[0], pattern)


def test_the_modules_are_those_of_the_drop_in() -> None:
    assert len(official_modules()) > 150


def test_every_difference_is_deliberate(found: list[str]) -> None:
    patterns = deliberate()
    unexplained = [each for each in found if not any(matches(each, pattern) for pattern in patterns)]
    assert unexplained == []


def test_every_line_of_the_table_is_a_difference(found: list[str]) -> None:
    idle = [pattern for pattern in deliberate() if not any(matches(each, pattern) for each in found)]
    assert idle == []
