from __future__ import annotations

from pathlib import Path

import chz
import datasets
from tinker_cookbook.preference import train_dpo
from tinker_cookbook.preference.dpo_datasets import DPODatasetBuilderFromComparisons
from tinker_cookbook.preference.preference_datasets import ComparisonDatasetBuilder
from tinker_cookbook.preference.types import Comparison, LabeledComparison
from tinker_cookbook.supervised.types import ChatDatasetBuilderCommonConfig

from cookbook.runs import MODEL, RENDERER, by_step

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


def config(base_url: str, log_path: Path, **changes: object) -> train_dpo.Config:
    return train_dpo.Config(
        log_path=str(log_path),
        model_name=MODEL,
        recipe_name="test",
        renderer_name=RENDERER,
        dataset_builder=DPODatasetBuilderFromComparisons(
            comparison_builder=BlueOverRed(),
            common_config=ChatDatasetBuilderCommonConfig(
                model_name_for_tokenizer=MODEL, renderer_name=RENDERER, max_length=None, batch_size=2
            ),
        ),
        learning_rate=1e-3,
        lr_schedule="constant",
        lora_rank=16,
        base_url=base_url,
        save_every=3,
        eval_every=0,
        **changes,
    )


def test_the_preferred_answer_gains_and_goes_on_gaining_after_a_resume(base_url: str, tmp_path: Path) -> None:
    train_dpo.main(config(base_url, tmp_path, max_steps=STEPS // 2))
    first = by_step(tmp_path, "dpo_loss")
    assert sorted(first) == list(range(STEPS // 2))
    assert abs(first[0] - 0.6931) < 1e-3  # log 2: at first the model is its own reference
    assert first[STEPS // 2 - 1] < first[0] - 0.05

    train_dpo.main(config(base_url, tmp_path))
    both = by_step(tmp_path, "dpo_loss")
    assert sorted(both) == list(range(STEPS))
    assert {step: both[step] for step in first} == first
    assert both[STEPS // 2] < first[STEPS // 2 - 1]
    assert by_step(tmp_path, "accuracy")[STEPS - 1] == 1.0
    margins = by_step(tmp_path, "margin")
    assert margins[STEPS - 1] > margins[STEPS // 2] > margins[0]
