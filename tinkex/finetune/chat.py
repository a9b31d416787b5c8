"""Chat templates: the text of a conversation, and which parts of it the assistant said.

A template says what surrounds the messages, but not where a message begins. There are two ways to find out:

- The template marks the assistant's text itself, with ``{% generation %}`` blocks.
- Otherwise the conversation is rendered up to each turn of the assistant, once as the prompt for that turn and
  once with the turn. What the second text adds to the first is what the assistant said, with the mark that ends it.

Some templates render a turn differently once others follow it, for example without its reasoning. Then no one text
shows what the model sees at every turn, and the conversation becomes one sequence for each turn of the assistant.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tinkex.finetune.records import BadRecord, Chat

TrainOn = Literal["all", "assistant", "last"]

BEGIN, END = "\ufdd0", "\ufdd1"  # noncharacters of Unicode, which no text holds
"""What a rendered conversation has where a generation block begins and ends."""


@dataclass(frozen=True)
class Piece:
    """A part of a sequence: a text, whether its tokens are learned, and whether the end token follows it."""

    text: str
    learned: bool
    ends: bool = False


class ChatTemplate:
    """The chat template of a model.

    ``render(messages, tools, add_generation_prompt)`` returns the text of a conversation, with the marks of
    generation blocks in it; it may raise anything.
    """

    def __init__(
        self,
        render: Callable[[Sequence[dict[str, Any]], list[Any] | None, bool], str],
        *,
        name: str,
        marked: bool,
        eos: str | None,
    ) -> None:
        self._render_any = render
        self.name = name
        """Where the template comes from, for messages to people."""
        self._marked = marked
        self._eos = eos

    def prompt(self, chat: Chat) -> str:
        """Return the text after which the assistant speaks. Raises ``BadRecord``."""
        return _unmarked(self._render(chat.messages, chat, prompt=True))

    def sequences(self, chat: Chat, train_on: TrainOn) -> list[list[Piece]]:
        """Return the sequences to learn from a conversation: one, or one for each turn of the assistant.

        Raises ``BadRecord`` if the assistant says nothing in it, or if the template refuses the conversation or
        does not show what the assistant says.
        """
        if train_on == "all":
            return [[Piece(_unmarked(self._render(chat.messages, chat)), learned=True)]]
        turns = [at for at, message in enumerate(chat.messages) if message["role"] == "assistant"]
        if not turns:
            raise BadRecord(
                "has no message of the assistant: there is nothing to learn (or give --train-on all)"
            )
        if train_on == "last":
            turns = turns[-1:]
        if self._marked:
            return [self._by_marks(chat, turns[-1], only_last=train_on == "last")]
        return self._by_prefixes(chat, turns)

    def _by_marks(self, chat: Chat, last: int, *, only_last: bool) -> list[Piece]:
        text = self._render(chat.messages[: last + 1], chat)
        pieces = []
        for number, part in enumerate(re.split(f"[{BEGIN}{END}]", text)):
            pieces.append(Piece(part, learned=number % 2 == 1))
        if only_last:
            final = max((at for at, piece in enumerate(pieces) if piece.learned and piece.text), default=None)
            pieces = [Piece(piece.text, learned=at == final) for at, piece in enumerate(pieces)]
        pieces = [piece for piece in pieces if piece.text]
        if not any(piece.learned for piece in pieces):
            raise BadRecord(f"the chat template ({self.name}) shows nothing that the assistant said")
        return pieces

    def _by_prefixes(self, chat: Chat, turns: list[int]) -> list[list[Piece]]:
        spans = [self._span(chat, turn) for turn in turns]
        whole = spans[-1][0]
        if all(whole.startswith(text) for text, _, _ in spans):
            return [_cut(whole, [(start, end) for _, start, end in spans])]
        return [_cut(text, [(start, end)]) for text, start, end in spans]

    def _span(self, chat: Chat, turn: int) -> tuple[str, int, int]:
        """Return the conversation up to a turn of the assistant, and where in it the turn starts and ends."""
        text = self._render(chat.messages[: turn + 1], chat)
        before = before_turn = ""
        if turn > 0:
            before_turn = self._render(chat.messages[:turn], chat, prompt=True)
            before = self._render(chat.messages[:turn], chat)
        if turn > 0 and text.startswith(before_turn):
            start = len(before_turn)
        else:
            # The prompt may open what the turn does not have, such as a mark of reasoning to come.
            start = shared_length(text, before_turn)
            if not text.startswith(before):
                raise BadRecord(
                    f"the chat template ({self.name}) changes the messages before message {turn + 1} once that is "
                    "there, so that the assistant's tokens cannot be told from the others; --train-on all learns all"
                )
            opened = self._opening(chat, turn)
            if text.startswith(opened):
                start = min(start, len(opened)) if turn > 0 else len(opened)
        if not text[start:].strip():
            raise BadRecord(f"the chat template ({self.name}) leaves message {turn + 1} out")
        end = len(text)
        if self._eos:
            mark = text.rfind(self._eos, start)
            if mark >= 0 and not text[mark + len(self._eos) :].strip():
                end = mark + len(self._eos)
        return text, start, end

    def _opening(self, chat: Chat, turn: int) -> str:
        """Return the conversation up to the content of a turn of the assistant."""
        message = {**chat.messages[turn], "content": BEGIN}
        return self._render([*chat.messages[:turn], message], chat).partition(BEGIN)[0]

    def _render(self, messages: Sequence[dict[str, Any]], chat: Chat, *, prompt: bool = False) -> str:
        try:
            return self._render_any(messages, chat.tools, prompt)
        except Exception as error:  # the template is code of others
            reason = " ".join(str(error).split()) or type(error).__name__
            raise BadRecord(f"the chat template ({self.name}) refuses the conversation: {reason}") from None


class PlainTemplate(ChatTemplate):
    """A template without special tokens: a line ``User: …`` for each message, and the end token after each answer."""

    def __init__(self) -> None:
        super().__init__(_plain, name="plain", marked=False, eos=None)

    def sequences(self, chat: Chat, train_on: TrainOn) -> list[list[Piece]]:
        """Return the sequence to learn from a conversation. Raises ``BadRecord`` as in the base class."""
        turns = [at for at, message in enumerate(chat.messages) if message["role"] == "assistant"]
        if not turns and train_on != "all":
            raise BadRecord(
                "has no message of the assistant: there is nothing to learn (or give --train-on all)"
            )
        messages = chat.messages if train_on == "all" else chat.messages[: turns[-1] + 1]
        pieces = []
        for at, message in enumerate(messages):
            everything = train_on == "all"
            content = str(message["content"] or "")
            if message["role"] == "assistant":
                learned = everything or train_on == "assistant" or at == turns[-1]
                pieces += [Piece("Assistant:", everything), Piece(f" {content}", learned, ends=True)]
            else:
                pieces.append(Piece(f"{message['role'].title()}: {content}\n", everything))
        return [pieces]


def shared_length(one: Sequence[Any], other: Sequence[Any]) -> int:
    """Return how many elements at the beginning of two sequences are the same."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other)))


def _plain(messages: Sequence[dict[str, Any]], tools: list[Any] | None, prompt: bool) -> str:
    return "".join(f"{m['role'].title()}: {m['content'] or ''}\n" for m in messages) + "Assistant:" * prompt


def _unmarked(text: str) -> str:
    return text.replace(BEGIN, "").replace(END, "")


def _cut(text: str, spans: list[tuple[int, int]]) -> list[Piece]:
    """Return the pieces of ``text``, of which those in ``spans`` are learned."""
    pieces, at = [], 0
    for start, end in spans:
        pieces += [Piece(text[at:start], learned=False), Piece(text[start:end], learned=True)]
        at = end
    pieces.append(Piece(text[at:], learned=False))
    return [piece for piece in pieces if piece.text]
