from __future__ import annotations

import math
from pathlib import Path

import chz
import datasets
import pytest
from cookbook.runs import MODEL, RENDERER, Crash, Crashing, by_step
from tinker_cookbook.preference import train_dpo
from tinker_cookbook.preference.dpo_datasets import DPODatasetBuilderFromComparisons
from tinker_cookbook.preference.preference_datasets import ComparisonDatasetBuilder
from tinker_cookbook.preference.types import Comparison, LabeledComparison
from tinker_cookbook.supervised.types import ChatDatasetBuilderCommonConfig, SupervisedDataset

STEPS = 12


@chz.chz
class BlueOverRed(ComparisonDatasetBuilder):
    """Of two answers to a question, one is preferred in every comparison."""

    def get_train_and_test_datasets(self) -> tuple[datasets.Dataset, datasets.Dataset | None]:
        return datasets.Dataset.from_list([{"question": "What colour is the sea?"}] * 2 * STEPS), None

    def example_to_labeled_comparison(self, example: dict[str, str]) -> LabeledComparison:
        return LabeledComparison(
            comparison=Comparison(
                prompt_conversation=[{"role": "user", "content": example["question"]}],
                completion_A=[{"role": "assistant", "content": "It is blue."}],
                completion_B=[{"role": "assistant", "content": "It is red!"}],
            ),
            label="A",
        )


@chz.chz
class Comparisons(DPODatasetBuilderFromComparisons):
    crash_at: int | None = None

    def __call__(self) -> tuple[SupervisedDataset, SupervisedDataset | None]:
        dataset, _ = super().__call__()
        return Crashing(dataset, self.crash_at), None


def config(base_url: str, log_path: Path, crash_at: int | None = None) -> train_dpo.Config:
    return train_dpo.Config(
        log_path=str(log_path),
        model_name=MODEL,
        recipe_name="test",
        renderer_name=RENDERER,
        dataset_builder=Comparisons(
            comparison_builder=BlueOverRed(),
            crash_at=crash_at,
            common_config=ChatDatasetBuilderCommonConfig(
                model_name_for_tokenizer=MODEL, renderer_name=RENDERER, max_length=None, batch_size=2
            ),
        ),
        learning_rate=1e-3,
        lr_schedule="constant",
        lora_rank=16,
        base_url=base_url,
        save_every=3,
        reference_model_name=MODEL,  # else a resumed loop compares with the weights that it resumes from
        eval_every=0,
    )


def test_the_preferred_answer_gains_and_goes_on_gaining_after_a_resume(base_url: str, tmp_path: Path) -> None:
    with pytest.raises(Crash):
        train_dpo.main(config(base_url, tmp_path, crash_at=8))
    first = by_step(tmp_path, "dpo_loss")
    assert sorted(first) == list(range(8))
    assert first[0] == pytest.approx(math.log(2), abs=1e-3)  # at first the model is its own reference
    assert first[7] < first[0] - 0.05

    train_dpo.main(config(base_url, tmp_path))
    both = by_step(tmp_path, "dpo_loss")
    assert sorted(both) == list(range(STEPS))
    assert both[6] == pytest.approx(first[6], rel=1e-3)
    assert by_step(tmp_path, "accuracy")[STEPS - 1] == 1.0
    margins = by_step(tmp_path, "margin")
    assert margins[STEPS - 1] > margins[STEPS // 2] > margins[0]
