"""The base models that a server offers: ``tinkex/byte-lm``, and others under any name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tinkex.local.byte_tokenizer import END_OF_TEXT, VOCAB_SIZE, ByteTokenizer
from tinkex.local.model.arrays import Array, Ints
from tinkex.local.model.batch import Batch
from tinkex.local.model.errors import InvalidInput
from tinkex.local.model.network import BaseModel, base_model

CONTEXT_LENGTH = 32768
MAX_VOCAB_SIZE = 1 << 20


@dataclass(frozen=True)
class OfferedModel:
    """A base model under its name. All models with the same ``vocab_size`` have the same network.

    ``end_of_text`` is the token that ends every sample, and ``decode`` gives the text of tokens; both are None if
    the server does not know the model's tokenizer. ``max_context_length`` is the most tokens that a datum, or a
    prompt together with one sample, may have.
    """

    name: str
    vocab_size: int
    end_of_text: int | None = None
    tokenizer_id: str | None = None
    arch: str = "mlp"
    max_context_length: int = CONTEXT_LENGTH
    decode: Callable[[list[int]], str] | None = field(default=None, compare=False, repr=False)

    @property
    def base(self) -> BaseModel:
        """The network."""
        return base_model(self.vocab_size)

    def check_tokens(self, tokens: Array, where: str) -> Ints:
        """Return ``tokens``; raises ``InvalidInput``, naming ``where``, if one is not in the vocabulary."""
        if tokens.dtype.kind != "i":
            raise InvalidInput(f"{where}: token ids must be integers")
        if tokens.size and (tokens.min() < 0 or tokens.max() >= self.vocab_size):
            bad = tokens[(tokens < 0) | (tokens >= self.vocab_size)].flat[0]
            raise InvalidInput(
                f"{where}: token {bad} is outside the vocabulary 0..{self.vocab_size - 1} of {self.name}"
            )
        return tokens.astype(np.int64, copy=False)

    def check_batch(self, batch: Batch) -> None:
        """Raise ``InvalidInput`` if a datum is too long for the model, or has a token that the model does not know."""
        for i, datum in enumerate(batch.data):
            where = f"data[{i}]"
            if len(datum.tokens) > self.max_context_length:
                raise InvalidInput(
                    f"{where}.model_input: must hold 1 to {self.max_context_length} tokens, holds {len(datum.tokens)}"
                )
            self.check_tokens(datum.tokens, f"{where}.model_input")
            self.check_tokens(datum.targets, f"{where}.target_tokens")


BYTE_LM = OfferedModel("tinkex/byte-lm", VOCAB_SIZE, END_OF_TEXT, ByteTokenizer.name_or_path, "byte-mlp")
