"""The learning rate: its course over the steps, and the default for a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex.finetune.learning_rate import Decay, Schedule, suggested


def test_it_rises_and_falls() -> None:
    linear = Schedule(1.0, 12, warmup=4)
    assert [round(linear.rate(step), 3) for step in range(12)] == [
        *(0.2, 0.4, 0.6, 0.8),
        *(1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125),
    ]
    cosine = Schedule(1.0, 8, decay="cosine")
    assert cosine.rate(0) == 1.0
    assert cosine.rate(4) == pytest.approx(0.5)
    assert cosine.rate(2) > Schedule(1.0, 8).rate(2)
    assert {Schedule(0.3, 9, decay="constant").rate(step) for step in range(9)} == {0.3}


@given(st.integers(1, 50), st.integers(0, 60), st.sampled_from(["linear", "cosine", "constant"]))
def test_it_is_always_positive_and_at_most_the_peak(steps: int, warmup: int, decay: Decay) -> None:
    schedule = Schedule(2.0, steps, warmup, decay)
    assert all(0 < schedule.rate(step) <= 2.0 for step in range(steps))


@pytest.mark.parametrize(
    ("model", "rate"),
    [
        ("tinkex/byte-lm", 1e-2),
        ("Qwen/Qwen3-8B", 4.73e-4),  # as get_lr of tinker-cookbook 0.6.1 says
        ("Qwen/Qwen3-4B-Instruct-2507", 4.9e-4),
        ("meta-llama/Llama-3.1-8B", 2.86e-4),
        ("meta-llama/Llama-3.3-70B-Instruct", 1.66e-4),
        ("meta-llama/Llama-3.2-1B", 4.91e-4),
        ("some/model", 5e-4),
    ],
)
def test_the_default_is_that_of_the_cookbook(model: str, rate: float) -> None:
    assert suggested(model).rate == pytest.approx(rate, rel=0.005)
    assert suggested(model).source


@pytest.mark.parametrize("config", [{"hidden_size": 500}, {"text_config": {"hidden_size": 500}}])
def test_a_folder_says_its_size(tmp_path: Path, config: dict[str, object]) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", **config}), "utf-8")
    assert suggested(str(tmp_path)).rate == pytest.approx(5e-4 * 4**0.781, rel=0.005)
