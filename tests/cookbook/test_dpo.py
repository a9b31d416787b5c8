from __future__ import annotations

import math
from pathlib import Path

import chz
import datasets
import pytest
import tinker
from cookbook.runs import MODEL, RENDERER, Crash, Crashing, by_step
from tinker_cookbook import renderers
from tinker_cookbook.checkpoint_utils import get_last_checkpoint
from tinker_cookbook.preference import train_dpo
from tinker_cookbook.preference.dpo_datasets import DPODatasetBuilderFromComparisons
from tinker_cookbook.preference.preference_datasets import ComparisonDatasetBuilder
from tinker_cookbook.preference.types import Comparison, LabeledComparison
from tinker_cookbook.supervised.types import ChatDatasetBuilderCommonConfig, SupervisedDataset
from tinker_cookbook.tokenizer_utils import get_tokenizer

STEPS = 12
QUESTION = "What colour is the sea?"
PREFERRED = "It is blue."
OTHER = "It is red!"


@chz.chz
class BlueOverRed(ComparisonDatasetBuilder):
    """Of two answers to a question, one is preferred in every comparison."""

    def get_train_and_test_datasets(self) -> tuple[datasets.Dataset, datasets.Dataset | None]:
        return datasets.Dataset.from_list([{"question": QUESTION}] * 2 * STEPS), None

    def example_to_labeled_comparison(self, example: dict[str, str]) -> LabeledComparison:
        return LabeledComparison(
            comparison=Comparison(
                prompt_conversation=[{"role": "user", "content": example["question"]}],
                completion_A=[{"role": "assistant", "content": PREFERRED}],
                completion_B=[{"role": "assistant", "content": OTHER}],
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
        eval_every=0,
    )


def preference(base_url: str, sampler_path: str | None) -> float:
    """How much likelier the preferred answer is than the other, as a difference of log-probabilities."""
    with tinker.ServiceClient(base_url=base_url) as service:
        sampler = service.create_sampling_client(model_path=sampler_path, base_model=MODEL)
        renderer = renderers.get_renderer(RENDERER, tokenizer=get_tokenizer(MODEL))
        prompt = renderer.build_generation_prompt([{"role": "user", "content": QUESTION}]).to_ints()
        logprobs = [
            sampler.compute_logprobs(tinker.ModelInput.from_ints([*prompt, *f" {answer}".encode()])).result()
            for answer in (PREFERRED, OTHER)
        ]
    preferred, other = (sum(each[len(prompt) :]) for each in logprobs)
    return preferred - other


def test_the_preferred_answer_gains_and_goes_on_gaining_after_a_resume(base_url: str, tmp_path: Path) -> None:
    with pytest.raises(Crash):
        train_dpo.main(config(base_url, tmp_path, crash_at=8))
    first = by_step(tmp_path, "dpo_loss")
    assert sorted(first) == list(range(8))
    assert first[0] == pytest.approx(math.log(2), abs=1e-3)  # at first the model is its own reference
    assert first[7] < first[0] - 0.05
    before = get_last_checkpoint(str(tmp_path))

    train_dpo.main(config(base_url, tmp_path))
    both = by_step(tmp_path, "dpo_loss")
    assert sorted(both) == list(range(STEPS))
    # The cookbook's reference is now the checkpoint from which the loop resumes.
    assert both[6] == pytest.approx(math.log(2), abs=1e-3)
    assert both[STEPS - 1] < both[6] - 0.05
    assert by_step(tmp_path, "accuracy")[STEPS - 1] == 1.0
    after = get_last_checkpoint(str(tmp_path))
    assert before is not None
    assert after is not None
    gains = [preference(base_url, path) for path in (None, before.sampler_path, after.sampler_path)]
    assert gains[0] + 0.5 < gains[1] < gains[2] - 0.5
