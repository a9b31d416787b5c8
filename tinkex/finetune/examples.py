"""Turns records into token sequences with a weight for each token, and cuts those that are too long."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from tinkex.errors import InputError
from tinkex.finetune.chat import ChatTemplate, Piece, TrainOn, shared_length
from tinkex.finetune.records import BadRecord, BadRecords, Chat, Completion, Record, Row, Text
from tinkex.tokenizers import Tokenizer
from tinkex.types.datum import Datum
from tinkex.types.model_input import ModelInput

TooLong = Literal["truncate", "drop", "error"]


@dataclass(frozen=True)
class Example:
    """A sequence of tokens, at least two, and which of them are learned: 1 for those, 0 for the others."""

    tokens: array[int]
    learned: bytes

    @property
    def trained(self) -> int:
        """The number of tokens that are learned. Nothing precedes the first token, so it is never among them."""
        return sum(self.learned[1:])

    def datum(self) -> Datum:
        """Return the example in the form that a server learns from: the input and the target shifted by one."""
        tokens = self.tokens.tolist()
        weights = [float(each) for each in self.learned[1:]]
        return Datum(ModelInput.from_ints(tokens[:-1]), {"target_tokens": tokens[1:], "weights": weights})


@dataclass
class Counts:
    """What became of the records."""

    truncated: int = 0
    dropped: int = 0
    """Sequences that were left out because they are too long, or have nothing to learn once they are cut."""
    split: int = 0
    """Conversations that became one sequence for each turn of the assistant."""


class Preparation:
    """Turns records into examples for one model.

    ``template`` is called for the chat template when the first conversation is met. ``longest`` is the most tokens
    of a sequence, None if there is no limit.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: Callable[[], ChatTemplate],
        *,
        train_on: TrainOn = "assistant",
        longest: int | None = None,
        too_long: TooLong = "truncate",
    ) -> None:
        self._tokenizer = tokenizer
        self._load_template = template
        self._template: ChatTemplate | None = None
        self._train_on: TrainOn = train_on
        self._longest = longest
        self._too_long: TooLong = too_long
        self.counts: Counts = Counts()

    @property
    def template(self) -> ChatTemplate:
        """The chat template. Raises ``InputError`` if there is none."""
        if self._template is None:
            self._template = self._load_template()
        return self._template

    def examples(self, rows: Iterable[Row], bad: BadRecords) -> list[Example]:
        """Return the examples of ``rows``. Records that cannot be learned are added to ``bad``.

        Raises ``InputError`` if there are conversations and no chat template.
        """
        made: list[Example] = []
        for row in rows:
            try:
                made += self._of(row.record)
            except BadRecord as reason:
                bad.add(row.place, reason)
        return made

    def _of(self, record: Record) -> list[Example]:
        sequences = self._pieces(record)
        made = []
        for pieces in sequences:
            # A chat template has the special tokens in its text.
            example = encode(self._tokenizer, pieces, special=not isinstance(record, Chat))
            if self._longest is not None and len(example.tokens) > self._longest:
                cut = self._cut(example, self._longest)
                if cut is None:
                    continue
                example = cut
            elif not example.trained:
                raise BadRecord("is a single token: there is nothing to predict")
            made.append(example)
        self.counts.split += len(sequences) > 1
        return made

    def _pieces(self, record: Record) -> list[list[Piece]]:
        if isinstance(record, Chat):
            return self.template.sequences(record, self._train_on)
        if isinstance(record, Completion):
            prompt = Piece(record.prompt, learned=self._train_on == "all")
            return [[prompt, Piece(record.completion, learned=True, ends=True)]]
        assert isinstance(record, Text)
        return [[Piece(record.text, learned=True, ends=True)]]

    def _cut(self, example: Example, longest: int) -> Example | None:
        """Return the beginning of a sequence that is too long, or None if it is left out."""
        if self._too_long == "error":
            raise BadRecord(
                f"has {len(example.tokens)} tokens, and the model takes {longest}; --too-long truncate cuts such "
                "sequences, and drop leaves them out"
            )
        cut = Example(example.tokens[:longest], example.learned[:longest])
        if self._too_long == "drop" or not cut.trained:
            self.counts.dropped += 1
            return None
        self.counts.truncated += 1
        return cut


def encode(tokenizer: Tokenizer, pieces: Sequence[Piece], *, special: bool) -> Example:
    """Return the tokens of consecutive pieces of text; with ``special``, those that start a text come first.

    A piece is encoded by itself, as the prompt is when a model is asked. Some tokenizers put a space before every
    text. Then all pieces are encoded as one text, and a token over a boundary belongs to the piece behind it.
    Raises ``InputError`` if the tokenizer has no end token where one is needed.
    """
    parts = [_encoded(tokenizer, piece.text, special=special and at == 0) for at, piece in enumerate(pieces)]
    if len(pieces) > 1:
        whole = _encoded(tokenizer, "".join(piece.text for piece in pieces), special=special)
        if tokenizer.decode([token for part in parts for token in part]) != tokenizer.decode(whole):
            parts = _divided(tokenizer, pieces, whole, special=special)
    tokens, learned = array("i"), bytearray()
    for piece, part in zip(pieces, parts):
        end = [_end_token(tokenizer)] if piece.ends and part[-1:] != [tokenizer.eos_token_id] else []
        tokens.extend([*part, *end])
        learned.extend(bytes([piece.learned]) * (len(part) + len(end)))
    return Example(tokens, bytes(learned))


def _divided(
    tokenizer: Tokenizer, pieces: Sequence[Piece], whole: list[int], *, special: bool
) -> list[list[int]]:
    parts, text, at = [], "", 0
    for piece in pieces[:-1]:
        text += piece.text
        before = _encoded(tokenizer, text, special=special)
        end = max(at, shared_length(whole, before))
        parts.append(whole[at:end])
        at = end
    return [*parts, whole[at:]]


def _encoded(tokenizer: Tokenizer, text: str, *, special: bool) -> list[int]:
    return list(tokenizer.encode(text) if special else tokenizer.encode(text, add_special_tokens=False))


def _end_token(tokenizer: Tokenizer) -> int:
    if tokenizer.eos_token_id is None:
        raise InputError("the tokenizer has no token that ends a text: name another one with --tokenizer")
    return tokenizer.eos_token_id


def digest(rows: Iterable[Row]) -> str:
    """Return a short text that is the same for the same records, and differs for others."""
    found = hashlib.sha256()
    for row in rows:
        found.update(json.dumps(asdict(row.record), sort_keys=True, default=str).encode())
        found.update(b"\n")
    return found.hexdigest()[:16]
