from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import chz
import pytest
import tinker
from cookbook.runs import MODEL, RENDERER, by_step, mean
from tinker_cookbook.completers import StopCondition
from tinker_cookbook.rl import train
from tinker_cookbook.rl.types import (
    Action,
    ActionExtra,
    Env,
    EnvGroupBuilder,
    Observation,
    RLDataset,
    RLDatasetBuilder,
    StepResult,
)

STEPS = 20
GROUPS = 4
REWARD = "env/all/reward/total"


class Plain(Env):
    """The reward is the share of tokens below 128, about a half for the untrained model."""

    async def initial_observation(self) -> tuple[Observation, StopCondition]:
        return tinker.ModelInput.from_ints(list(b"Write ASCII: ")), []

    async def step(self, action: Action, *, extra: ActionExtra | None = None) -> StepResult:
        return StepResult(
            reward=mean([float(token < 128) for token in action]),
            episode_done=True,
            next_observation=tinker.ModelInput.empty(),
            next_stop_condition=[],
        )


class PlainGroup(EnvGroupBuilder):
    async def make_envs(self) -> Sequence[Env]:
        return [Plain() for _ in range(8)]


class PlainDataset(RLDataset):
    def get_batch(self, index: int) -> Sequence[EnvGroupBuilder]:
        return [PlainGroup() for _ in range(GROUPS)]

    def __len__(self) -> int:
        return STEPS


@chz.chz
class PlainBuilder(RLDatasetBuilder):
    async def __call__(self) -> tuple[RLDataset, RLDataset | None]:
        return PlainDataset(), None


WAYS = {
    "sync": {},
    "async": {"async_config": train.AsyncConfig(max_steps_off_policy=1, groups_per_batch=GROUPS)},
    "stream-minibatch": {
        "stream_minibatch_config": train.StreamMinibatchConfig(groups_per_batch=GROUPS, num_minibatches=2)
    },
    "kl": {
        "kl_penalty_coef": 0.02,
        "kl_reference_config": train.KLReferenceConfig(base_model=MODEL),
    },
}


def config(base_url: str, log_path: Path, **changes: object) -> train.Config:
    return train.Config(
        log_path=str(log_path),
        model_name=MODEL,
        recipe_name="test",
        renderer_name=RENDERER,
        dataset_builder=PlainBuilder(),
        learning_rate=1e-2,
        lora_rank=16,
        max_tokens=8,
        base_url=base_url,
        save_every=3,
        eval_every=0,
        **changes,
    )


@pytest.mark.parametrize("way", WAYS)
def test_the_reward_rises_and_goes_on_rising_after_a_resume(base_url: str, tmp_path: Path, way: str) -> None:
    changes = WAYS[way]
    asyncio.run(train.main(config(base_url, tmp_path, max_steps=STEPS // 2, **changes)))
    first = by_step(tmp_path, REWARD)
    assert sorted(first) == list(range(STEPS // 2))
    start = first[0]
    assert 0.2 < start < 0.8

    asyncio.run(train.main(config(base_url, tmp_path, **changes)))
    both = by_step(tmp_path, REWARD)
    assert sorted(both) == list(range(STEPS))
    assert {step: both[step] for step in first} == first
    # The resumed loop begins with what the first one had learned, and learns more.
    assert both[STEPS // 2] > start + 0.1
    assert mean([both[step] for step in range(STEPS - 3, STEPS)]) > start + 0.25
    if way == "kl":
        divergence = by_step(tmp_path, "kl_policy_base")
        assert abs(divergence[0]) < 0.01  # the policy is still the model that it is compared with
        assert divergence[STEPS - 1] > 0.1
