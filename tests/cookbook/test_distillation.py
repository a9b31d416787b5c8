from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import chz
import pytest
import tinker
from cookbook.runs import MODEL, RENDERER, by_step
from tinker_cookbook import renderers
from tinker_cookbook.distillation import train_on_policy
from tinker_cookbook.distillation.datasets import (
    DistillationDatasetConfig,
    PromptOnlyDataset,
    TeacherConfig,
)
from tinker_cookbook.rl.types import RLDataset, RLDatasetBuilder
from tinker_cookbook.tokenizer_utils import get_tokenizer

STEPS = 12
QUESTION = "What colour is the sea?"


@chz.chz
class OneQuestion(RLDatasetBuilder):
    async def __call__(self) -> tuple[RLDataset, RLDataset | None]:
        tokenizer = get_tokenizer(MODEL)
        renderer = renderers.get_renderer(RENDERER, tokenizer=tokenizer)
        prompts = [QUESTION] * (4 * STEPS)
        return PromptOnlyDataset(prompts, 4, group_size=16, renderer=renderer, tokenizer=tokenizer), None


def datum(prompt: list[int], answer: list[int]) -> tinker.Datum:
    tokens = prompt + answer
    return tinker.Datum(
        model_input=tinker.ModelInput.from_ints(tokens[:-1]),
        loss_fn_inputs={
            "target_tokens": tokens[1:],
            "weights": [0.0] * (len(prompt) - 1) + [1.0] * len(answer),
        },
    )


@pytest.fixture(scope="module")
def teacher(base_url: str) -> str:
    """The path of a sampler checkpoint that answers the question with small letters, in any order."""
    renderer = renderers.get_renderer(RENDERER, tokenizer=get_tokenizer(MODEL))
    prompt = renderer.build_generation_prompt([{"role": "user", "content": QUESTION}]).to_ints()
    random = Random(0)
    service = tinker.ServiceClient(base_url=base_url, api_key="tml-cookbook")
    training = service.create_lora_training_client(MODEL, rank=16, seed=1)
    for _ in range(24):
        data = [datum(prompt, random.choices(range(ord("a"), ord("z") + 1), k=8)) for _ in range(16)]
        training.forward_backward(data, "cross_entropy")
        training.optim_step(tinker.AdamParams(learning_rate=5e-3)).result()
    return training.save_weights_for_sampler("teacher").result().path


def config(base_url: str, log_path: Path, teacher: str, **changes: object) -> train_on_policy.Config:
    return train_on_policy.Config(
        log_path=str(log_path),
        model_name=MODEL,
        recipe_name="test",
        renderer_name=RENDERER,
        dataset_configs=[
            DistillationDatasetConfig(
                dataset_builder=OneQuestion(),
                teacher_config=TeacherConfig(base_model=MODEL, load_checkpoint_path=teacher),
                groups_per_batch=4,
            )
        ],
        learning_rate=5e-3,
        lora_rank=16,
        max_tokens=8,
        base_url=base_url,
        save_every=3,
        eval_every=0,
        **changes,
    )


def test_the_student_comes_nearer_to_its_teacher_also_after_a_resume(
    base_url: str, tmp_path: Path, teacher: str
) -> None:
    asyncio.run(train_on_policy.main(config(base_url, tmp_path, teacher, max_steps=STEPS // 2)))
    first = by_step(tmp_path, "teacher_kl")
    assert sorted(first) == list(range(STEPS // 2))

    asyncio.run(train_on_policy.main(config(base_url, tmp_path, teacher)))
    both = by_step(tmp_path, "teacher_kl")
    assert sorted(both) == list(range(STEPS))
    assert {step: both[step] for step in first} == first
    assert both[STEPS // 2] < first[0]
    assert both[STEPS - 1] < first[0] / 2
