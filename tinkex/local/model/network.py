"""The base model ``tinkex/byte-lm``: small, made from a fixed seed, and frozen; only its adapters learn.

The last ``CONTEXT`` tokens are embedded, laid side by side, and go through one hidden layer to a distribution over
the next token (Bengio et al. 2003, "A neural probabilistic language model"). There is no attention, so the setting
``train_attn`` has no effect. Positions before the first token hold the end-of-text token. The output matrix starts
with such small numbers that an untrained model is nearly uniform: its loss is about ``ln 257 = 5.55`` per token.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tinkex.local.byte_tokenizer import END_OF_TEXT, VOCAB_SIZE
from tinkex.local.model.arrays import Floats, Ints, Weights
from tinkex.local.model.errors import NotFinite
from tinkex.local.model.lora import LoraSpec, merged

BASE_MODEL = "tinkex/byte-lm"
TOKENIZER_ID = "tinkex/byte-tokenizer"
MAX_CONTEXT_LENGTH = 32768
"""The most tokens that a datum, or a prompt together with one sample, may have."""
CONTEXT = 32
"""How many of the latest tokens the network looks at."""
EMBEDDING = 12
HIDDEN = 320
LAYER_GROUPS = {"hidden": "mlp", "unembed": "unembed"}
LAYER_SHAPES = {"hidden": (CONTEXT * EMBEDDING, HIDDEN), "unembed": (HIDDEN, VOCAB_SIZE)}
_SEED = 20240607
_BLOCK = 512  # positions computed at once, to bound the memory of a large batch


class BaseModel:
    """The frozen weights, which are the same in every process.

    The server computes in float32. ``dtype`` may be float64 where gradients are checked.
    """

    def __init__(self, dtype: type[np.floating] = np.float32) -> None:
        random = np.random.default_rng(_SEED)
        self.dtype = dtype
        self.embedding: Floats = random.standard_normal((VOCAB_SIZE, EMBEDDING)).astype(dtype)
        # Nearer tokens say more about the next one, so the weight of a position falls with its distance.
        distance = np.arange(CONTEXT, 0, -1)
        gain = np.repeat(distance**-0.5, EMBEDDING)
        gain *= 2 / np.sqrt((gain**2).sum())
        hidden = random.standard_normal((CONTEXT * EMBEDDING, HIDDEN)) * gain[:, None]
        self.hidden: Floats = hidden.astype(dtype)
        self.bias: Floats = (0.5 * random.standard_normal(HIDDEN)).astype(dtype)
        unembed = 0.2 / np.sqrt(HIDDEN) * random.standard_normal((HIDDEN, VOCAB_SIZE))
        self.unembed: Floats = unembed.astype(dtype)


def windows(tokens: Sequence[int] | Ints) -> Ints:
    """The tokens that the model sees at each position, ``[len(tokens), CONTEXT]``, the newest last."""
    padded = np.concatenate([np.full(CONTEXT - 1, END_OF_TEXT), np.asarray(tokens, np.int64)])
    view: Ints = np.lib.stride_tricks.sliding_window_view(padded, CONTEXT)
    return view


class AdaptedModel:
    """The base model with one set of adapters added to its matrices. It does not change once it is made."""

    def __init__(self, base: BaseModel, adapters: Mapping[str, Floats], spec: LoraSpec) -> None:
        self._base = base
        self._adapters = adapters
        self._scale = spec.scale
        with overflow_allowed():
            self._hidden = merged(base.hidden, adapters, "hidden", self._scale)
            self._unembed = merged(base.unembed, adapters, "unembed", self._scale)

    @property
    def finite(self) -> bool:
        """Whether all matrices are free of infinities and NaN."""
        return bool(np.isfinite(self._hidden).all() and np.isfinite(self._unembed).all())

    def logits(self, context: Ints) -> Floats:
        """The logits ``[n, VOCAB_SIZE]`` of the token that follows each row of ``context [n, CONTEXT]``.

        Raises ``NotFinite`` if the adapters are so large that a logit is infinite or NaN.
        """
        return self._forward(context)[2]

    def _forward(self, context: Ints) -> tuple[Floats, Floats, Floats]:
        """The embedded inputs, the hidden layer, and the logits."""
        inputs: Floats = self._base.embedding[context].reshape(len(context), -1)
        with overflow_allowed():
            hidden: Floats = inputs @ self._hidden
            hidden += self._base.bias
            np.maximum(hidden, 0, out=hidden)
            logits: Floats = hidden @ self._unembed
        if not np.isfinite(logits).all():
            raise NotFinite("the model's weights are too large: its outputs are not finite")
        return inputs, hidden, logits

    def blocks(self, context: Ints) -> Iterator[slice]:
        """Slices that cut ``context`` into pieces small enough to compute at once."""
        for start in range(0, len(context), _BLOCK):
            yield slice(start, start + _BLOCK)

    def trace(self, context: Ints, targets: Ints) -> Trace:
        """Run ``context [n, CONTEXT]`` forward towards ``targets [n, m]``, and keep what the backward pass needs.

        Raises ``NotFinite`` as ``logits`` does.
        """
        inputs, hidden, logits = self._forward(context)
        return Trace(inputs, hidden, log_softmax(logits), targets)

    def gradients(self, trace: Trace, upstream: Floats) -> Weights:
        """The gradients of the adapters.

        ``upstream [n, m]`` is the derivative of the loss with respect to the log-probabilities of the trace. The
        trace's arrays are overwritten and cannot be used again.
        """
        used = np.flatnonzero(upstream.any(axis=1))
        trace, upstream = trace.rows(used), upstream[used]
        # The derivative of logprob(t) with respect to the logits is onehot(t) - softmax.
        d_logits = np.exp(trace.table, out=trace.table)
        d_logits *= -upstream.sum(axis=1, keepdims=True)
        rows = np.arange(len(d_logits))
        for column in range(upstream.shape[1]):
            d_logits[rows, trace.targets[:, column]] += upstream[:, column]
        gradients = self._adapter_gradients("unembed", trace.hidden, d_logits)
        if "hidden.up" in self._adapters:
            d_hidden = d_logits @ self._unembed.T
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
    """The results of a forward pass: activations, and the log-probabilities ``table [n, VOCAB_SIZE]``."""

    inputs: Floats
    hidden: Floats
    table: Floats
    targets: Ints

    def logprobs(self) -> Floats:
        """The log-probabilities ``[n, m]`` of the targets."""
        logprobs: Floats = np.take_along_axis(self.table, self.targets, axis=1)
        return logprobs

    def rows(self, wanted: NDArray[np.intp]) -> Trace:
        """The trace of only the rows in ``wanted``, so that tokens without weight cost no backward pass."""
        if len(wanted) == len(self.table):
            return self
        return Trace(self.inputs[wanted], self.hidden[wanted], self.table[wanted], self.targets[wanted])


def overflow_allowed() -> np.errstate:
    """Return a context in which infinities and NaN cause no warning.

    The caller checks the numbers for infinities and NaN afterwards.
    """
    return np.errstate(over="ignore", invalid="ignore")


def log_softmax(logits: Floats) -> Floats:
    """The natural logarithm of the softmax over the last axis."""
    shifted: Floats = logits - logits.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted
