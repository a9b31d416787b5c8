from __future__ import annotations

import asyncio
from pathlib import Path

import chz
import datasets
from tinker_cookbook.supervised import train
from tinker_cookbook.supervised.data import SupervisedDatasetFromHFDataset, conversation_to_datum
from tinker_cookbook.supervised.types import (
    ChatDatasetBuilder,
    ChatDatasetBuilderCommonConfig,
    SupervisedDataset,
)

from cookbook.runs import MODEL, RENDERER, by_step

STEPS = 16


@chz.chz
class OneAnswer(ChatDatasetBuilder):
    """The same question and answer in every batch."""

    def __call__(self) -> tuple[SupervisedDataset, SupervisedDataset | None]:
        conversation = [
            {"role": "user", "content": "What colour is the sea?"},
            {"role": "assistant", "content": "The sea is blue and wide."},
        ]
        rows = datasets.Dataset.from_list([{"messages": conversation}] * STEPS)
        return SupervisedDatasetFromHFDataset(
            rows,
            batch_size=1,
            map_fn=lambda row: conversation_to_datum(row["messages"], self.renderer, None),
        ), None


def config(base_url: str, log_path: Path, **changes: object) -> train.Config:
    return train.Config(
        log_path=str(log_path),
        model_name=MODEL,
        recipe_name="test",
        renderer_name=RENDERER,
        dataset_builder=OneAnswer(
            common_config=ChatDatasetBuilderCommonConfig(
                model_name_for_tokenizer=MODEL, renderer_name=RENDERER, max_length=None, batch_size=1
            )
        ),
        learning_rate=2e-2,
        lr_schedule="constant",
        lora_rank=16,
        base_url=base_url,
        save_every=4,
        eval_every=0,
        **changes,
    )


def test_the_loss_falls_and_goes_on_falling_after_a_resume(base_url: str, tmp_path: Path) -> None:
    asyncio.run(train.main(config(base_url, tmp_path, max_steps=8)))
    first = by_step(tmp_path, "train_mean_nll")
    assert sorted(first) == list(range(8))
    assert first[7] < first[0] / 2

    asyncio.run(train.main(config(base_url, tmp_path)))
    both = by_step(tmp_path, "train_mean_nll")
    assert sorted(both) == list(range(STEPS))
    assert {step: both[step] for step in range(8)} == first
    assert both[8] < first[7]  # the resumed loop has the weights of the first one
    assert both[STEPS - 1] < first[0] / 4
