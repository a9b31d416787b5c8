"""Batches: every example once in each epoch, in an order that follows from the seed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tinkex.finetune.batches import BatchSize, Plan

LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=40)
SIZES = st.one_of(
    st.builds(BatchSize, sequences=st.integers(1, 10)), st.builds(BatchSize, tokens=st.integers(1, 120))
)


@given(LENGTHS, SIZES, st.integers(1, 4), st.integers(0, 3))
def test_every_epoch_has_every_example_once(
    lengths: list[int], size: BatchSize, accumulate: int, seed: int
) -> None:
    plan = Plan(lengths, size, seed=seed, accumulate=accumulate)
    for epoch in range(3):
        steps = range(plan.steps(epoch), plan.steps(epoch + 1))
        assert {plan.epoch(step) for step in steps} == {epoch}
        batches = [batch for step in steps for batch in plan.step(step)]
        assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
        assert all(1 <= len(plan.step(step)) <= accumulate for step in steps)
        for batch in batches:
            assert size.sequences is None or len(batch) <= size.sequences
            assert size.tokens is None or len(batch) == 1 or sum(lengths[at] for at in batch) <= size.tokens


@given(LENGTHS, SIZES, st.integers(0, 30))
def test_a_step_is_the_same_whoever_asks_and_when(lengths: list[int], size: BatchSize, step: int) -> None:
    one, other = Plan(lengths, size, seed=1), Plan(lengths, size, seed=1)
    before = [one.step(number) for number in range(step + 1)]
    assert other.step(step) == before[-1]
    assert [one.step(number) for number in reversed(range(step + 1))] == before[::-1]


def test_seeds_and_epochs_have_orders_of_their_own() -> None:
    plan, other = (Plan([1] * 30, BatchSize(sequences=30), seed=seed) for seed in (0, 1))
    assert plan.step(0) != plan.step(1)
    assert plan.step(0) != other.step(0)
