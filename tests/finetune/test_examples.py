"""Examples: which tokens a record becomes, which of them are learned, and what happens to long ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from chat_tokenizers import word_tokenizer
from hypothesis import given
from hypothesis import strategies as st

import tinkex
from tinkex import tokenizers
from tinkex.finetune import chat_templates
from tinkex.finetune.chat import Piece
from tinkex.finetune.examples import Example, Preparation, digest, encode
from tinkex.finetune.records import BadRecords, Chat, Completion, Place, Record, Row, Text

BYTES = tokenizers.load("tinkex/byte-lm")
END = 256
TALK = Chat([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}])


def row(record: Record, number: int = 1) -> Row:
    return Row(Place("f", number), record)


def prepared(record: Record, **settings: Any) -> tuple[list[Example], BadRecords, Preparation]:
    preparation = Preparation(BYTES, lambda: chat_templates.load(BYTES, None), **settings)
    bad = BadRecords()
    return preparation.examples([row(record)], bad), bad, preparation


def learned(example: Example) -> list[int]:
    return [token for token, weight in zip(example.tokens, example.learned) if weight]


def test_each_kind_of_record() -> None:
    [text], _, _ = prepared(Text("ab"))
    assert text.tokens.tolist() == [97, 98, END]
    assert text.trained == 2  # nothing precedes the first token
    [pair], _, _ = prepared(Completion("a?", " b"))
    assert pair.tokens.tolist() == [*b"a? b", END]
    assert learned(pair) == [*b" b", END]
    [pair], _, _ = prepared(Completion("a?", " b"), train_on="all")
    assert learned(pair) == [*b"a? b", END]
    [talk], _, _ = prepared(TALK)
    assert talk.tokens.tolist() == [*b"User: Hi\nAssistant: Yo", END]
    assert learned(talk) == [*b" Yo", END]


def test_the_datum_predicts_each_token_from_those_before_it() -> None:
    [pair], _, _ = prepared(Completion("ab", "c"))
    datum = pair.datum()
    assert datum.model_input.to_ints() == [*b"abc"]
    assert datum.loss_fn_inputs["target_tokens"].tolist() == [*b"bc", END]
    assert datum.loss_fn_inputs["weights"].tolist() == [0.0, 1.0, 1.0]


def test_long_sequences_are_cut_left_out_or_refused() -> None:
    record = Completion("ab", "cdef")
    [cut], bad, preparation = prepared(record, longest=4)
    assert cut.tokens.tolist() == [*b"abcd"]
    assert (preparation.counts.truncated, preparation.counts.dropped, len(bad)) == (1, 0, 0)
    found, bad, preparation = prepared(record, longest=4, too_long="drop")
    assert (found, preparation.counts.dropped, len(bad)) == ([], 1, 0)
    found, bad, _ = prepared(record, longest=4, too_long="error")
    assert len(bad) == 1
    assert bad.lines[0].startswith("f, line 1: has 7 tokens, and the model takes 4; ")
    # What is left of it has nothing to learn.
    found, bad, preparation = prepared(record, longest=2)
    assert (found, preparation.counts.truncated, preparation.counts.dropped) == ([], 0, 1)


def test_a_record_that_cannot_be_learned_names_its_place() -> None:
    found, bad, _ = prepared(Chat([{"role": "user", "content": "Hi"}]))
    assert found == []
    assert bad.lines[0].startswith("f, line 1: has no message of the assistant")


def test_conversations_that_become_several_sequences_are_counted(tmp_path: Path) -> None:
    tokenizer = word_tokenizer(
        tmp_path,
        "{% for m in messages %}{% if loop.last and m.role == 'assistant' %}!{% endif %}{{ m.content }}{% endfor %}",
    )
    preparation = Preparation(tokenizer, lambda: chat_templates.load(tokenizer, None))
    [*found] = preparation.examples([row(Chat([*TALK.messages, *TALK.messages]))], BadRecords())
    assert len(found) == 2
    assert preparation.counts.split == 1


@pytest.mark.parametrize("spaces", [False, True])
def test_pieces_have_the_tokens_of_their_text(tmp_path: Path, spaces: bool) -> None:
    tokenizer = word_tokenizer(tmp_path, None, spaces=spaces)
    pieces = [
        Piece("<|im_start|>a\n", learned=False),
        Piece("b c<|im_end|>", learned=True),
        Piece("\nd", learned=False),
    ]
    example = encode(tokenizer, pieces, special=False)
    text = "<|im_start|>a\nb c<|im_end|>\nd"
    assert tokenizer.decode(example.tokens.tolist()) == tokenizer.decode(tokenizer.encode(text))
    assert tokenizer.decode(learned(example)).strip() == "b c<|im_end|>"
    assert learned(example)[-1] == tokenizer.eos_token_id


@given(
    st.lists(
        st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.booleans(), st.booleans()), min_size=1
    )
)
def test_pieces_of_bytes_are_put_together(parts: list[tuple[str, bool, bool]]) -> None:
    pieces = [Piece(*part) for part in parts]
    example = encode(BYTES, pieces, special=True)
    assert len(example.tokens) == len(example.learned)
    expected = [token for piece in pieces for token in [*piece.text.encode(), *[END] * piece.ends]]
    assert example.tokens.tolist() == expected


def test_a_tokenizer_without_an_end_is_named(tmp_path: Path) -> None:
    tokenizer = word_tokenizer(tmp_path, None)
    tokenizer.eos_token_id = None
    with pytest.raises(tinkex.InputError, match="no token that ends a text"):
        encode(tokenizer, [Piece("a", learned=True, ends=True)], special=True)


def test_the_digest_tells_records_apart() -> None:
    records: list[Record] = [Text("ab"), Completion("a", "b"), TALK, Completion("", "ab")]
    assert len({digest([row(record)]) for record in records}) == 4
    assert digest([row(TALK, 1)]) == digest([row(TALK, 2)])
    assert digest([row(Text("a")), row(Text("b"))]) != digest([row(Text("b")), row(Text("a"))])
