"""The origin of the tokens of a training example: a sampled sequence, or the prompt of one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tinkex.errors import InputError
from tinkex.types.checks import integral
from tinkex.types.data import Data


@dataclass(frozen=True, kw_only=True)
class ProvenanceSpan(Data):
    """A run of tokens of a sampled sequence, or of its prompt. There is a subclass for either."""

    sequence_id: str
    """The ``SampledSequence.sequence_id`` of the sequence."""
    offset: int = 0
    """The first token of the run, counted from 0."""
    length: int
    """The number of tokens in the run."""

    def __post_init__(self) -> None:
        if not isinstance(self.sequence_id, str) or not self.sequence_id:
            raise InputError(f"sequence_id must be the id of a sampled sequence, not {self.sequence_id!r}")
        for name, value in (("offset", self.offset), ("length", self.length)):
            self.__dict__[name] = integral(name, value, at_least=0)


class PromptProvenanceSpan(ProvenanceSpan):
    """The tokens ``[offset, offset + length)`` of the prompt from which a sequence was sampled.

    Raises ``InputError`` for an empty id and for numbers that are not whole or are negative.
    """


class SampledProvenanceSpan(ProvenanceSpan):
    """The tokens ``[offset, offset + length)`` of a sampled sequence.

    Raises ``InputError`` for an empty id and for numbers that are not whole or are negative.
    """


ProvenanceSpans = list[ProvenanceSpan]
"""Runs that follow one another without a gap, as ``Datum.with_provenance`` takes them."""


def checked(name: str, spans: Iterable[object], length: int | None) -> ProvenanceSpans:
    """Return ``spans`` as a list. Raises ``InputError`` unless all of them are spans and cover ``length`` tokens.

    ``length`` None allows any number of tokens.
    """
    listed: ProvenanceSpans = []
    for span in spans:
        if not isinstance(span, (PromptProvenanceSpan, SampledProvenanceSpan)):
            raise InputError(f"{name} takes provenance spans, not {type(span).__name__}")
        listed.append(span)
    covered = sum(span.length for span in listed)
    if length is not None and covered != length:
        raise InputError(f"the spans of {name} cover {covered} tokens, but it has {length}")
    return listed
