"""The guides for those who work on the code name files that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BASES = [ROOT, ROOT / "tinkex", *(ROOT / "tinkex" / name for name in ("local", "testing"))]


@pytest.mark.parametrize("guide", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_every_path_in_the_guides_exists(guide: str) -> None:
    prose = re.sub(r"```.*?```", "", (ROOT / guide).read_text("utf-8"), flags=re.DOTALL)
    named = set(re.findall(r"`([\w./-]*/[\w./-]*|[\w-]+\.(?:py|md|toml))`", prose))
    assert len(named) > 5
    assert [path for path in sorted(named) if not any((base / path).exists() for base in BASES)] == []
