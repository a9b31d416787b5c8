"""The base models: small, made from a fixed seed, and frozen; only their adapters learn.

The last ``CONTEXT`` tokens are embedded, laid side by side, and go through one hidden layer to a distribution over
the next token (Bengio et al. 2003, "A neural probabilistic language model"). There is no attention, so the setting
``train_attn`` has no effect. Positions before the first token hold the last id of the vocabulary, which is the
end-of-text token of ``tinkex/byte-lm``. The output matrices start with such small numbers that an untrained model is
nearly uniform: its loss is about ``ln(vocabulary size)`` per token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce

import numpy as np

from tinkex.local.byte_tokenizer import VOCAB_SIZE
from tinkex.local.model.arrays import Floats, Ints, Weights
from tinkex.local.model.errors import InvalidInput
from tinkex.local.model.lora import LoraSpec, merged
from tinkex.local.model.output_layer import (
    Distribution,
    Level,
    OutputLayer,
    Vocabulary,
    overflow_allowed,
    sum_of_levels,
)

CONTEXT = 32
"""How many of the latest tokens the network looks at."""
EMBEDDING = 12
HIDDEN = 320
LAYER_GROUPS = {"hidden": "mlp", "unembed": "unembed", "classes": "unembed"}
_SEED = 20240607
_BLOCK = 512  # positions computed at once
_CELLS = 1 << 21  # log-probabilities computed at once; both bound the memory of a large batch


class BaseModel:
    """The frozen weights for a vocabulary of ``vocab_size`` tokens, which are the same in every process.

    The server computes in float32. ``dtype`` may be float64 where gradients are checked.
    """

    def __init__(self, vocab_size: int = VOCAB_SIZE, dtype: type[np.floating] = np.float32) -> None:
        random = np.random.default_rng(_SEED)
        self.vocabulary: Vocabulary = Vocabulary(vocab_size)
        self.dtype = dtype
        self.embedding: Floats = random.standard_normal((vocab_size, EMBEDDING)).astype(dtype)
        # Nearer tokens say more about the next one, so the weight of a position falls with its distance.
        distance = np.arange(CONTEXT, 0, -1)
        gain = np.repeat(distance**-0.5, EMBEDDING)
        gain *= 2 / np.sqrt((gain**2).sum())
        hidden = random.standard_normal((CONTEXT * EMBEDDING, HIDDEN)) * gain[:, None]
        self.bias: Floats = (0.5 * random.standard_normal(HIDDEN)).astype(dtype)

        def output(width: int) -> Floats:
            weights: Floats = 0.2 / np.sqrt(HIDDEN) * random.standard_normal((HIDDEN, width))
            return weights.astype(dtype)

        self.layers: dict[str, Floats] = {
            "hidden": hidden.astype(dtype),
            "unembed": output(self.vocabulary.class_size),
        }
        """The matrices ``[inputs, outputs]`` that adapters are added to."""
        self.signs: Floats | None = None
        if self.vocabulary.classes > 1:
            self.layers["classes"] = output(self.vocabulary.classes)
            self.signs = random.choice([-1.0, 1.0], (self.vocabulary.classes, HIDDEN)).astype(dtype)

    def check_adapters(self, adapters: Mapping[str, Floats]) -> None:
        """Raise ``InvalidInput`` if ``adapters`` do not fit the matrices, as after a change of the vocabulary size."""
        for name, value in adapters.items():
            layer, _, side = name.rpartition(".")
            frozen = self.layers.get(layer)
            if frozen is None or value.shape[side == "up"] != frozen.shape[side == "up"]:
                raise InvalidInput(
                    f"the checkpoint's adapter {name} does not fit a model of this vocabulary size"
                )

    def windows(self, tokens: Sequence[int] | Ints) -> Ints:
        """The tokens that the model sees at each position, ``[len(tokens), CONTEXT]``, the newest last."""
        padding = np.full(CONTEXT - 1, self.vocabulary.size - 1)
        padded = np.concatenate([padding, np.asarray(tokens, np.int64)])
        view: Ints = np.lib.stride_tricks.sliding_window_view(padded, CONTEXT)
        return view


base_model: Callable[..., BaseModel] = lru_cache(maxsize=8)(BaseModel)
"""Returns the ``BaseModel`` for a vocabulary size. It is made once and shared, because it never changes."""


class AdaptedModel:
    """The base model with one set of adapters added to its matrices. It does not change once it is made."""

    def __init__(self, base: BaseModel, adapters: Mapping[str, Floats], spec: LoraSpec) -> None:
        self.base = base
        self._adapters = adapters
        self._scale = spec.scale
        with overflow_allowed():
            self._matrices = {
                layer: merged(frozen, adapters, layer, self._scale) for layer, frozen in base.layers.items()
            }
        self._output = OutputLayer(base.vocabulary, self._matrices, base.signs)

    @property
    def finite(self) -> bool:
        """Whether all matrices are free of infinities and NaN."""
        return all(bool(np.isfinite(matrix).all()) for matrix in self._matrices.values())

    def distribution(self, context: Ints) -> Distribution:
        """The distribution of the token that follows each row of ``context [n, CONTEXT]``.

        What is asked of it raises ``NotFinite`` if the adapters are so large that a logit is infinite or NaN.
        """
        return Distribution(self._output, self._forward(context)[1])

    def _forward(self, context: Ints) -> tuple[Floats, Floats]:
        """The embedded inputs, and the hidden layer."""
        inputs: Floats = self.base.embedding[context].reshape(len(context), -1)
        with overflow_allowed():
            hidden: Floats = inputs @ self._matrices["hidden"]
            hidden += self.base.bias
            np.maximum(hidden, 0, out=hidden)
        return inputs, hidden

    def blocks(self, context: Ints, targets: int | None = None) -> Iterator[slice]:
        """Slices that cut ``context`` into pieces small enough to compute at once.

        ``targets`` is the number of tokens at each position whose log-probabilities are needed; None means all.
        """
        vocabulary = self.base.vocabulary
        classes = vocabulary.classes if targets is None else min(targets, vocabulary.classes)
        size = max(1, min(_BLOCK, _CELLS // (classes * vocabulary.class_size)))
        for start in range(0, len(context), size):
            yield slice(start, start + size)

    def trace(self, context: Ints, targets: Ints) -> Trace:
        """Run ``context [n, CONTEXT]`` forward towards ``targets [n, m]``, and keep what the backward pass needs.

        Raises ``NotFinite`` if the adapters are so large that a logit is infinite or NaN.
        """
        inputs, hidden = self._forward(context)
        return Trace(inputs, hidden, self._output.levels(hidden, targets))

    def gradients(self, trace: Trace, upstream: Floats) -> Weights:
        """The gradients of the adapters.

        ``upstream [n, m]`` is the derivative of the loss with respect to the log-probabilities of the trace. The
        trace's arrays are overwritten and cannot be used again.
        """
        used = np.flatnonzero(upstream.any(axis=1))
        if len(used) < len(upstream):  # tokens without weight cost no backward pass
            trace, upstream = trace.only(used), upstream[used]
        gradients: Weights = {}
        d_hiddens = []
        for level in trace.levels:
            d_logits = level.d_logits(upstream)
            gradients |= self._adapter_gradients(level.layer, level.inputs, d_logits)
            if "hidden.up" in self._adapters:
                d_hiddens.append(level.d_hidden(d_logits @ self._matrices[level.layer].T))
        if "hidden.up" in self._adapters:
            d_hidden = reduce(np.add, d_hiddens)
            d_hidden *= trace.hidden > 0
            gradients |= self._adapter_gradients("hidden", trace.inputs, d_hidden)
        return gradients

    def _adapter_gradients(self, layer: str, inputs: Floats, d_outputs: Floats) -> Weights:
        up, down = f"{layer}.up", f"{layer}.down"
        if up not in self._adapters:
            return {}
        return {
            up: self._scale * ((inputs @ self._adapters[down]).T @ d_outputs),
            down: self._scale * (inputs.T @ (d_outputs @ self._adapters[up].T)),
        }


@dataclass
class Trace:
    """The results of a forward pass: the embedded inputs, the hidden layer, and the softmaxes of the output layer."""

    inputs: Floats
    hidden: Floats
    levels: list[Level]

    def logprobs(self) -> Floats:
        """The log-probabilities ``[n, m]`` of the targets."""
        return sum_of_levels(self.levels)

    def only(self, positions: Ints) -> Trace:
        """The trace of a part of the positions, which are given in ascending order."""
        levels = [level.only(positions) for level in self.levels]
        return Trace(self.inputs[positions], self.hidden[positions], levels)
