"""Which examples each step learns. It follows from the seed and the number of the step alone."""

from __future__ import annotations

import bisect
import random
from collections.abc import Sequence
from dataclasses import dataclass

Batch = list[int]
"""The indices of the examples of one ``forward_backward``."""


@dataclass(frozen=True)
class BatchSize:
    """The size of a batch: ``sequences``, or so many that they have at most ``tokens`` (but one at least)."""

    sequences: int | None = None
    tokens: int | None = None

    def cut(self, order: Sequence[int], lengths: Sequence[int]) -> list[Batch]:
        """Cut ``order`` into consecutive batches. ``lengths`` are the numbers of tokens of all examples."""
        batches: list[Batch] = []
        batch: Batch = []
        tokens = 0
        for index in order:
            full = self.sequences is not None and len(batch) == self.sequences
            over = self.tokens is not None and tokens + lengths[index] > self.tokens
            if batch and (full or over):
                batches.append(batch)
                batch, tokens = [], 0
            batch.append(index)
            tokens += lengths[index]
        return [*batches, batch] if batch else batches


class Plan:
    """The batches of all steps.

    Every epoch has each example once, in an order that is drawn from the seed and the number of the epoch. A step
    has ``accumulate`` batches, or fewer at the end of an epoch.
    """

    def __init__(self, lengths: Sequence[int], size: BatchSize, *, seed: int, accumulate: int = 1) -> None:
        self._lengths = lengths
        self._size = size
        self._seed = seed
        self._accumulate = accumulate
        self._starts = [0]
        self._epochs: dict[int, list[list[Batch]]] = {}

    def steps(self, epochs: int) -> int:
        """Return the number of steps of the first ``epochs`` epochs."""
        while len(self._starts) <= epochs:
            self._starts.append(self._starts[-1] + len(self._epoch(len(self._starts) - 1)))
        return self._starts[epochs]

    def epoch(self, step: int) -> int:
        """Return the epoch that step number ``step`` is in. Both count from 0."""
        while self._starts[-1] <= step:
            self.steps(len(self._starts))
        return bisect.bisect_right(self._starts, step) - 1

    def step(self, step: int) -> list[Batch]:
        """Return the batches of step number ``step``, counted from 0."""
        epoch = self.epoch(step)
        return self._epoch(epoch)[step - self._starts[epoch]]

    def _epoch(self, epoch: int) -> list[list[Batch]]:
        if epoch not in self._epochs:
            order = list(range(len(self._lengths)))
            random.Random(f"{self._seed} {epoch}").shuffle(order)
            batches = self._size.cut(order, self._lengths)
            every = self._accumulate
            self._epochs = {epoch: [batches[at : at + every] for at in range(0, len(batches), every)]}
        return self._epochs[epoch]
