"""The output layer: from the hidden layer at a position to the probabilities of the token that follows it.

A small vocabulary has one softmax over all tokens. A large one has two levels, which makes training and sampling
cheap (Goodman 2001, "Classes for fast maximum entropy training"; Morin and Bengio 2005, "Hierarchical probabilistic
neural network language model"). The token ids are cut into about ``sqrt(size)`` classes of consecutive ids, and

    p(token) = p(class of the token) * p(token | its class)

is exactly normalised. Both factors are softmaxes of products with the hidden layer. All classes share one matrix for
the second factor; the hidden layer is first multiplied by the signs that belong to the class, so that the classes
differ.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tinkex.local.model.arrays import Floats, Ints
from tinkex.local.model.errors import NotFinite

ONE_SOFTMAX = 1024
"""The largest vocabulary with one softmax over all tokens."""


class Vocabulary:
    """How the token ids from 0 to ``size - 1`` are cut into ``classes`` classes of ``class_size`` consecutive ids.

    The last class may be smaller. By default a small vocabulary has one class, and a large one as many as a class has
    tokens.
    """

    def __init__(self, size: int, class_size: int | None = None) -> None:
        self.size = size
        self.class_size: int = class_size or (size if size <= ONE_SOFTMAX else math.isqrt(size - 1) + 1)
        self.classes: int = -(-size // self.class_size)
        self.draws: int = min(self.classes, 2)
        """How many random numbers it takes to draw a token."""


@dataclass
class Level:
    """One softmax of the output layer, as it was computed for the targets of a batch.

    Row ``i`` of ``table [p, width]`` has the log-probabilities at position ``rows[i]``; the rows are in the order of
    the positions, and each position has at least one. The target ``[n, m]`` of a position is column ``columns[n, m]``
    of row ``places[n, m]``. ``inputs`` are the rows that were multiplied by the matrix of ``layer``, and ``signs``,
    if there are any, those that the hidden layer was multiplied by before.
    """

    layer: str
    inputs: Floats
    table: Floats
    rows: Ints
    places: Ints
    columns: Ints
    signs: Floats | None = None

    def logprobs(self) -> Floats:
        """The log-probabilities ``[n, m]`` of the targets."""
        logprobs: Floats = self.table[self.places, self.columns]
        return logprobs

    def only(self, positions: Ints) -> Level:
        """The softmax of this level at some of the positions only, which are given in ascending order."""
        new_rows = np.full(len(self.places), -1)
        new_rows[positions] = np.arange(len(positions))
        kept = np.flatnonzero(new_rows[self.rows] >= 0)
        new_places = np.zeros(len(self.rows), np.int64)
        new_places[kept] = np.arange(len(kept))
        return Level(
            self.layer,
            self.inputs[kept],
            self.table[kept],
            new_rows[self.rows[kept]],
            new_places[self.places[positions]],
            self.columns[positions],
            None if self.signs is None else self.signs[kept],
        )

    def d_logits(self, upstream: Floats) -> Floats:
        """The derivative of a loss with respect to the logits ``[p, width]``. The table is overwritten.

        ``upstream [n, m]`` is the derivative of the loss with respect to the log-probabilities of the targets.
        """
        # The derivative of logprob(t) with respect to the logits is onehot(t) - softmax.
        d_logits = np.exp(self.table, out=self.table)
        totals = np.bincount(self.places.ravel(), upstream.ravel(), len(d_logits))
        d_logits *= -totals.astype(d_logits.dtype)[:, None]
        for column in range(upstream.shape[1]):
            d_logits[self.places[:, column], self.columns[:, column]] += upstream[:, column]
        return d_logits

    def d_hidden(self, d_inputs: Floats) -> Floats:
        """The derivative ``[n, hidden]`` with respect to the hidden layer, from that with respect to ``inputs``."""
        if self.signs is not None:
            d_inputs *= self.signs
        if len(self.rows) == len(self.places):
            return d_inputs
        starts = np.flatnonzero(np.diff(self.rows, prepend=-1))
        summed: Floats = np.add.reduceat(d_inputs, starts, axis=0)
        return summed


class OutputLayer:
    """The output layer with its present matrices, by the names of their layers.

    ``signs [classes, hidden]`` belong to a vocabulary of several classes. Everything raises ``NotFinite`` if the
    weights are so large that a logit is infinite or NaN.
    """

    def __init__(self, vocabulary: Vocabulary, matrices: Mapping[str, Floats], signs: Floats | None) -> None:
        self.vocabulary = vocabulary
        self._matrices = matrices
        self._signs = signs

    def levels(self, hidden: Floats, targets: Ints) -> list[Level]:
        """The softmaxes that the probabilities of ``targets [n, m]`` need. Their log-probabilities add up."""
        positions = np.arange(len(hidden))
        own_row = np.broadcast_to(positions[:, None], targets.shape)
        if self._signs is None:
            return [Level("unembed", hidden, self.token_table(hidden), positions, own_row, targets)]
        classes, members = np.divmod(targets, self.vocabulary.class_size)
        first = Level("classes", hidden, self.class_table(hidden), positions, own_row, classes)
        # The members of a class are needed once, even if several targets of a position are among them.
        pairs, places = np.unique(own_row * self.vocabulary.classes + classes, return_inverse=True)
        rows, needed = np.divmod(pairs, self.vocabulary.classes)
        signs = self._signs[needed]
        inputs = hidden[rows] * signs
        table = self._member_table(inputs, needed)
        return [first, Level("unembed", inputs, table, rows, places.reshape(targets.shape), members, signs)]

    def class_table(self, hidden: Floats) -> Floats:
        """The log-probabilities ``[n, classes]`` of the classes."""
        if self._signs is None:
            return np.zeros((len(hidden), 1), hidden.dtype)
        return self._log_softmax(hidden, "classes")

    def token_table(self, hidden: Floats) -> Floats:
        """The log-probabilities ``[n, size]`` of all tokens of a vocabulary of one class."""
        return self._log_softmax(hidden, "unembed")

    def member_table(self, hidden: Floats, classes: Ints) -> Floats:
        """The log-probabilities ``[n, class_size]`` of the tokens of one class for each row, given that class."""
        if self._signs is None:
            return self.token_table(hidden)
        return self._member_table(hidden * self._signs[classes], classes)

    def full_table(self, hidden: Floats) -> Floats:
        """The log-probabilities ``[n, classes, class_size]`` of all tokens; -inf in places without a token."""
        if self._signs is None:
            return self.token_table(hidden)[:, None]
        every = np.arange(self.vocabulary.classes)
        table = np.empty((len(hidden), len(every), self.vocabulary.class_size), hidden.dtype)
        # One position after the other, since the arrays of a position fit into the processor's cache.
        for i, of_class in enumerate(self.class_table(hidden)):
            table[i] = self._member_table(hidden[i] * self._signs, every)
            table[i] += of_class[:, None]
        return table

    def _member_table(self, inputs: Floats, classes: Ints) -> Floats:
        beyond = self.vocabulary.classes * self.vocabulary.class_size - self.vocabulary.size
        logits = self._logits(inputs, "unembed")
        if beyond:  # the places after the last token, in the last class, have probability 0
            logits[classes == self.vocabulary.classes - 1, -beyond:] = -np.inf
        return log_softmax(logits, out=logits)

    def _log_softmax(self, inputs: Floats, layer: str) -> Floats:
        logits = self._logits(inputs, layer)
        return log_softmax(logits, out=logits)

    def _logits(self, inputs: Floats, layer: str) -> Floats:
        with overflow_allowed():
            logits: Floats = inputs @ self._matrices[layer]
        if not np.isfinite(logits).all():
            raise NotFinite("the model's weights are too large: its outputs are not finite")
        return logits


class Distribution:
    """The probabilities of the next token at ``n`` positions. Only what is asked for is computed."""

    def __init__(self, layer: OutputLayer, hidden: Floats) -> None:
        self._layer = layer
        self._hidden = hidden
        self.vocabulary: Vocabulary = layer.vocabulary

    @cached_property
    def classes(self) -> Floats:
        """The log-probabilities ``[n, classes]`` of the classes."""
        return self._layer.class_table(self._hidden)

    @cached_property
    def by_class(self) -> Floats:
        """The log-probabilities ``[n, classes, class_size]`` of all tokens; -inf in places without a token."""
        return self._layer.full_table(self._hidden)

    @property
    def table(self) -> Floats:
        """The log-probabilities ``[n, size]`` of all tokens."""
        return self.by_class.reshape(len(self._hidden), -1)[:, : self.vocabulary.size]

    def members(self, classes: Ints) -> Floats:
        """The log-probabilities ``[n, class_size]`` of the tokens of one class for each position, given that class."""
        return self._layer.member_table(self._hidden, classes)

    def logprobs(self, targets: Ints) -> Floats:
        """The log-probabilities ``[n, m]`` of ``targets [n, m]``."""
        if "by_class" in self.__dict__:  # they are known already
            known: Floats = np.take_along_axis(self.table, targets, axis=1)
            return known
        return sum_of_levels(self._layer.levels(self._hidden, targets))


def sum_of_levels(levels: list[Level]) -> Floats:
    """The log-probabilities ``[n, m]`` of the targets of ``levels``."""
    first, *others = levels
    logprobs = first.logprobs()
    for level in others:
        logprobs = logprobs + level.logprobs()
    return logprobs


def overflow_allowed() -> np.errstate:
    """Return a context in which infinities and NaN cause no warning.

    The caller checks the numbers for infinities and NaN afterwards.
    """
    return np.errstate(over="ignore", invalid="ignore")


def log_softmax(logits: Floats, out: Floats | None = None) -> Floats:
    """The natural logarithm of the softmax over the last axis, which may be written to ``out``."""
    shifted: Floats = np.subtract(logits, logits.max(axis=-1, keepdims=True), out=out)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted
