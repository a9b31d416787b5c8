from __future__ import annotations

import asyncio
from pathlib import Path

import chz
import datasets
import pytest
from cookbook.runs import MODEL, RENDERER, Crash, Crashing, by_step
from tinker_cookbook.supervised import train
from tinker_cookbook.supervised.data import SupervisedDatasetFromHFDataset, conversation_to_datum
from tinker_cookbook.supervised.types import (
    ChatDatasetBuilder,
    ChatDatasetBuilderCommonConfig,
    SupervisedDataset,
)

STEPS = 16


@chz.chz
class OneAnswer(ChatDatasetBuilder):
    """The same question and answer in every batch."""

    crash_at: int | None = None

    def __call__(self) -> tuple[SupervisedDataset, SupervisedDataset | None]:
        conversation = [
            {"role": "user", "content": "What colour is the sea?"},
            {"role": "assistant", "content": "The sea is blue and wide."},
        ]
        rows = datasets.Dataset.from_list([{"messages": conversation}] * STEPS)
        dataset = SupervisedDatasetFromHFDataset(
            rows,
            batch_size=1,
            map_fn=lambda row: conversation_to_datum(row["messages"], self.renderer, None),
        )
        return Crashing(dataset, self.crash_at), None


def config(base_url: str, log_path: Path, crash_at: int | None = None) -> train.Config:
    return train.Config(
        log_path=str(log_path),
        model_name=MODEL,
        recipe_name="test",
        renderer_name=RENDERER,
        dataset_builder=OneAnswer(
            common_config=ChatDatasetBuilderCommonConfig(
                model_name_for_tokenizer=MODEL, renderer_name=RENDERER, max_length=None, batch_size=1
            ),
            crash_at=crash_at,
        ),
        learning_rate=5e-3,
        lr_schedule="constant",
        lora_rank=16,
        base_url=base_url,
        save_every=4,
        eval_every=0,
    )


def test_the_loss_falls_and_goes_on_falling_after_a_resume(base_url: str, tmp_path: Path) -> None:
    with pytest.raises(Crash):
        asyncio.run(train.main(config(base_url, tmp_path, crash_at=10)))
    first = by_step(tmp_path, "train_mean_nll")
    assert sorted(first) == list(range(9))  # the step before the crash was sent, but not waited for
    assert first[8] < first[0] / 2

    asyncio.run(train.main(config(base_url, tmp_path)))
    both = by_step(tmp_path, "train_mean_nll")
    assert sorted(both) == list(range(STEPS))
    # The cookbook's checkpoint of step 8 is saved when step 9 has been submitted, and training resumes with step 8.
    assert both[8] < first[8]
    assert both[STEPS - 1] < first[0] / 4
