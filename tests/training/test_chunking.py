"""Cutting batches into chunks, and joining what came of them."""

from __future__ import annotations

from clients import datum

from tinkex import types
from tinkex.training.chunking import join, split


def test_chunks_keep_the_order_and_the_bounds() -> None:
    data = [datum(*range(length)) for length in (2, 50, 3, 4, 2, 2, 2)]
    chunks = split(data, 3, 100)
    assert [one for chunk in chunks for one in chunk] == data
    assert all(len(chunk) <= 3 for chunk in chunks)
    assert all(sum(one.nbytes for one in chunk) <= 100 for chunk in chunks if len(chunk) > 1)


def test_metrics_are_reduced_by_their_suffix() -> None:
    def output(count: int, **metrics: float) -> types.ForwardBackwardOutput:
        named = {name.replace("_", ":"): value for name, value in metrics.items()}
        return types.ForwardBackwardOutput("x", [{}] * count, named)

    joined = join(
        [
            output(1, a_sum=1, a_min=1, a_max=1, a_mean=1, a_slack=1, a_hash2=2**63, a_unique=5),
            output(3, a_sum=2, a_min=2, a_max=2, a_mean=2, a_slack=2, a_hash2=2**63 + 7, a_unique=6, b_sum=1),
        ]
    )
    assert joined.metrics == {
        "a:sum": 3,
        "a:min": 1,
        "a:max": 2,
        "a:mean": 1.75,
        "a:slack": 0.25,
        "a:hash2": 7,
        "a:unique": 5,
        "a:unique_1": 6,
        "b:sum": 1,
    }
    assert len(joined.loss_fn_outputs) == 4
