"""The base model `tinkex/byte-lm`: small, seeded, frozen; it learns only through adapters.

The last `CONTEXT` tokens are embedded, laid side by side, and go through one hidden layer to a
distribution over the next token (Bengio et al. 2003, "A neural probabilistic language model").
There is no attention, so `train_attn` has nothing to act on. Before the first token the window holds
end-of-text. The output matrix starts so small that an untrained model is near uniform: about
`ln 257 = 5.55` nats a byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .arrays import Floats, Ints, Weights
from .byte_tokenizer import END_OF_TEXT, VOCAB_SIZE
from .lora import LoraSpec, merged

BASE_MODEL = "tinkex/byte-lm"
TOKENIZER_ID = "tinkex/byte-tokenizer"
MAX_CONTEXT_LENGTH = (
    32768  # tokens of a datum, or of a prompt and its samples; the model looks at CONTEXT of them
)
CONTEXT = 32
EMBEDDING = 12
HIDDEN = 320
LAYER_GROUPS = {"hidden": "mlp", "unembed": "unembed"}
LAYER_SHAPES = {"hidden": (CONTEXT * EMBEDDING, HIDDEN), "unembed": (HIDDEN, VOCAB_SIZE)}
_SEED = 20240607
_BLOCK = 512  # positions computed at once: bounds the memory of a large batch


class BaseModel:
    """The frozen weights, the same in every process.

    Args:
        dtype: float32 in service; float64 for checking gradients.
    """

    def __init__(self, dtype: type[np.floating] = np.float32) -> None:
        random = np.random.default_rng(_SEED)
        self.dtype = dtype
        self.embedding = random.standard_normal((VOCAB_SIZE, EMBEDDING)).astype(dtype)
        # Nearer bytes say more about the next one: the weight of a position falls with its distance.
        distance = np.arange(CONTEXT, 0, -1)
        gain = np.repeat(distance**-0.5, EMBEDDING)
        gain *= 2 / np.sqrt((gain**2).sum())
        hidden = random.standard_normal((CONTEXT * EMBEDDING, HIDDEN)) * gain[:, None]
        self.hidden = hidden.astype(dtype)
        self.bias = (0.5 * random.standard_normal(HIDDEN)).astype(dtype)
        self.unembed = (0.2 / np.sqrt(HIDDEN) * random.standard_normal((HIDDEN, VOCAB_SIZE))).astype(dtype)


def windows(tokens: Sequence[int] | Ints) -> Ints:
    """What the model sees at each position: `[len(tokens), CONTEXT]`, newest last."""
    padded = np.concatenate([np.full(CONTEXT - 1, END_OF_TEXT), np.asarray(tokens, np.int64)])
    view: Ints = np.lib.stride_tricks.sliding_window_view(padded, CONTEXT)
    return view


class AdaptedModel:
    """The base model with one set of adapters merged in: what computes. Immutable once made."""

    def __init__(self, base: BaseModel, adapters: Mapping[str, Floats], spec: LoraSpec) -> None:
        self._base = base
        self._adapters = adapters
        self._scale = spec.scale
        self._hidden = merged(base.hidden, adapters, "hidden", self._scale)
        self._unembed = merged(base.unembed, adapters, "unembed", self._scale)

    def logits(self, context: Ints) -> Floats:
        """`context [n, CONTEXT]` to logits `[n, VOCAB_SIZE]` of the token that follows each."""
        return self._activations(context)[1] @ self._unembed

    def logprobs(self, context: Ints) -> Floats:
        """As `logits`, normalised (natural logarithm)."""
        return log_softmax(self.logits(context))

    def blocks(self, context: Ints) -> Iterator[slice]:
        """Slices that cut `context` into pieces of bounded memory."""
        for start in range(0, len(context), _BLOCK):
            yield slice(start, start + _BLOCK)

    def _activations(self, context: Ints) -> tuple[Floats, Floats]:
        inputs = self._base.embedding[context].reshape(len(context), -1)
        hidden = inputs @ self._hidden
        hidden += self._base.bias
        np.maximum(hidden, 0, out=hidden)
        return inputs, hidden

    def trace(self, context: Ints, targets: Ints) -> Trace:
        """Score `targets [n, m]` after `context [n, CONTEXT]`, keeping what the backward pass needs."""
        inputs, hidden = self._activations(context)
        return Trace(inputs, hidden, log_softmax(hidden @ self._unembed), targets)

    def gradients(self, trace: Trace, upstream: Floats) -> Weights:
        """The adapters' gradients of a loss, `upstream [n, m]` being its derivative by each of the trace's
        log-probabilities. Uses up the trace.
        """
        used = np.flatnonzero(upstream.any(axis=1))
        trace, upstream = trace.rows(used), upstream[used]
        # d logprob(t) / d logits = onehot(t) - softmax
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
    """One forward pass: activations, and `table [n, VOCAB_SIZE]` of log-probabilities."""

    inputs: Floats
    hidden: Floats
    table: Floats
    targets: Ints

    def logprobs(self) -> Floats:
        """The targets' log-probabilities `[n, m]`."""
        logprobs: Floats = np.take_along_axis(self.table, self.targets, axis=1)
        return logprobs

    def rows(self, wanted: NDArray[np.intp]) -> Trace:
        """Those rows only: a prompt's tokens, which weigh nothing, cost nothing on the way back."""
        if len(wanted) == len(self.table):
            return self
        return Trace(self.inputs[wanted], self.hidden[wanted], self.table[wanted], self.targets[wanted])


def log_softmax(logits: Floats) -> Floats:
    """Natural log of the softmax over the last axis."""
    shifted: Floats = logits - logits.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted
