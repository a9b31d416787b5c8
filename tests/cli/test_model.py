"""Models: ``tinkex model``."""

from __future__ import annotations

from commands import Held, Tinkex


def test_model(tinkex_here: Tinkex, held: Held) -> None:
    models = tinkex_here("model", "list", "BYTE", "-f", "json").json["models"]
    assert [model["model_name"] for model in models] == ["tinkex/byte-lm"]
    assert "tinkex/byte-lm\t" in tinkex_here("model", "list").out
    tinkex_here("model", "list", "llama").fails(1, "llama", "tinkex model list")
