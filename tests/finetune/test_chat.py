"""Chat templates: what the assistant said is found in whatever text a template makes of a conversation."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from chat_tokenizers import word_tokenizer

import tinkex
from tinkex import tokenizers
from tinkex.finetune import chat, chat_templates
from tinkex.finetune.chat import Piece
from tinkex.finetune.records import BadRecord, Chat

TALK = Chat(
    [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "Two?"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "Bye"},
    ]
)
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MARKED = (
    "{%- for m in messages %}\n"
    "    {%- if m.role == 'assistant' %}\n"
    "        {{- '<a>' }}{% generation %}{{ m.content + '</a>' }}{% endgeneration %}\n"
    "    {%- else %}\n"
    "        {{- '<u>' + m.content + '</u>' }}\n"
    "    {%- endif %}\n"
    "{%- endfor %}"
)
# Thoughts are shown in the last turn only, like those of Qwen3.
THINKS_LAST = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# The prompt opens thoughts that a finished turn does not have, like that of DeepSeek-R1.
OPENS_THOUGHTS = (
    "{% for m in messages %}{% if m.role == 'assistant' %}<A>{{ m.content }}<|im_end|>"
    "{% else %}<U>{{ m.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<A><think>\n{% endif %}"
)
STRICT = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system messages, please') }}"
    "{% endif %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
)
REWRITES = "{{ messages | length }} messages{% for m in messages %}{{ m.content }}{% endfor %}"


def made(tmp_path: Path, source: str) -> chat.ChatTemplate:
    return chat_templates.load(word_tokenizer(tmp_path, source), None)


def learned(pieces: list[Piece]) -> list[str]:
    return [piece.text for piece in pieces if piece.learned]


def whole(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def test_turns_are_found_without_help_from_the_template(tmp_path: Path) -> None:
    template = made(tmp_path, CHATML)
    [pieces] = template.sequences(TALK, "assistant")
    assert learned(pieces) == ["1<|im_end|>", "2<|im_end|>"]
    assert whole(pieces).startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nOne?")
    assert whole(pieces).endswith(
        "<|im_start|>assistant\n2<|im_end|>\n"
    )  # what the user says last teaches nothing
    [pieces] = template.sequences(TALK, "last")
    assert learned(pieces) == ["2<|im_end|>"]
    [pieces] = template.sequences(TALK, "all")
    assert learned(pieces) == [whole(pieces)]
    assert whole(pieces).endswith("Bye<|im_end|>\n")
    assert (
        template.prompt(Chat(TALK.messages[1:2]))
        == "<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_turns_are_those_that_the_template_marks(tmp_path: Path) -> None:
    template = made(tmp_path, MARKED)
    [pieces] = template.sequences(TALK, "assistant")
    assert whole(pieces) == "<u>Be brief.</u><u>One?</u><a>1</a><u>Two?</u><a>2</a>"
    assert learned(pieces) == ["1</a>", "2</a>"]
    [pieces] = template.sequences(TALK, "last")
    assert learned(pieces) == ["2</a>"]
    [pieces] = template.sequences(TALK, "all")
    assert whole(pieces) == "<u>Be brief.</u><u>One?</u><a>1</a><u>Two?</u><a>2</a><u>Bye</u>"


def test_turns_that_change_once_others_follow_become_sequences_of_their_own(tmp_path: Path) -> None:
    first, second = made(tmp_path, THINKS_LAST).sequences(TALK, "assistant")
    assert learned(first) == ["<think>\n\n</think>\n\n1<|im_end|>"]
    assert learned(second) == ["<think>\n\n</think>\n\n2<|im_end|>"]
    assert "<|im_start|>assistant\n1<|im_end|>" in whole(second)
    assert len(made(tmp_path, THINKS_LAST).sequences(TALK, "last")) == 1


@pytest.mark.parametrize("answer", ["4", "<b>4</b>", "<"])
def test_a_prompt_that_opens_what_the_turn_has_not(tmp_path: Path, answer: str) -> None:
    talk = Chat([{"role": "user", "content": "2+2"}, {"role": "assistant", "content": answer}])
    [pieces] = made(tmp_path, OPENS_THOUGHTS).sequences(talk, "assistant")
    assert learned(pieces) == [f"{answer}<|im_end|>"]


def test_an_assistant_that_speaks_first(tmp_path: Path) -> None:
    talk = Chat([{"role": "assistant", "content": "Welcome"}, {"role": "user", "content": "Hi"}])
    [pieces] = made(tmp_path, CHATML).sequences(talk, "assistant")
    assert learned(pieces) == ["Welcome<|im_end|>"]


@pytest.mark.parametrize(
    ("source", "messages", "words"),
    [
        (STRICT, TALK.messages, "no system messages, please"),
        (REWRITES, TALK.messages, "changes the messages before"),
        (CHATML, TALK.messages[:2], "no message of the assistant"),
        (MARKED, TALK.messages[:2], "no message of the assistant"),
        (
            "{% for m in messages %}{{ m.nothing.more }}{% endfor %}",
            TALK.messages,
            "refuses the conversation",
        ),
        ("{{ messages[0].content }}", TALK.messages, "leaves message"),
        ("{% generation %}{% endgeneration %}x", TALK.messages, "shows nothing"),
        ("{{ messages.append(1) }}", TALK.messages, "refuses the conversation"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", TALK.messages, "refuses the conversation"),
    ],
)
def test_what_cannot_be_learned_says_why(
    tmp_path: Path, source: str, messages: list[dict[str, Any]], words: str
) -> None:
    with pytest.raises(BadRecord, match=words):
        made(tmp_path, source).sequences(Chat(messages), "assistant")


def test_a_template_that_hides_the_turns_can_still_be_learned_as_a_whole(tmp_path: Path) -> None:
    [pieces] = made(tmp_path, REWRITES).sequences(TALK, "all")
    assert whole(pieces).startswith("6 messages")


def test_the_byte_model_has_a_template_of_its_own() -> None:
    template = chat_templates.load(tokenizers.load("tinkex/byte-lm"), None)
    [pieces] = template.sequences(TALK, "assistant")
    assert whole(pieces) == "System: Be brief.\nUser: One?\nAssistant: 1User: Two?\nAssistant: 2"
    assert learned(pieces) == [" 1", " 2"]
    assert [piece.ends for piece in pieces if piece.learned] == [True, True]
    assert learned(template.sequences(TALK, "last")[0]) == [" 2"]
    assert template.prompt(Chat(TALK.messages[1:2])) == "User: One?\nAssistant:"
    with pytest.raises(BadRecord, match="no message of the assistant"):
        template.sequences(Chat(TALK.messages[:2]), "assistant")


def test_a_tokenizer_without_a_template(tmp_path: Path) -> None:
    with_marks = word_tokenizer(tmp_path, None)
    assert chat_templates.load(with_marks, None).name == "chatml"
    [pieces] = chat_templates.load(with_marks, None).sequences(TALK, "assistant")
    assert learned(pieces) == ["1<|im_end|>", "2<|im_end|>"]
    assert whole(pieces) == whole(made(tmp_path, CHATML).sequences(TALK, "assistant")[0])

    without = word_tokenizer(tmp_path, None, marks=False)
    with pytest.raises(tinkex.InputError, match="no chat template"):
        chat_templates.load(without, None)
    assert chat_templates.load(without, "plain").name == "plain"
    (tmp_path / "mine.jinja").write_text(MARKED, "utf-8")
    assert chat_templates.load(without, str(tmp_path / "mine.jinja")).name == "mine.jinja"


def test_templates_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = word_tokenizer(tmp_path, "{% for %}")
    with pytest.raises(tinkex.InputError, match="not one that Jinja can read"):
        chat_templates.load(tokenizer, None)
    with pytest.raises(tinkex.InputError, match="cannot be read"):
        chat_templates.load(tokenizer, str(tmp_path / "none.jinja"))
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(tinkex.InputError, match=r"need jinja2: \S+ -m pip install .*jinja2>="):
        chat_templates.load(tokenizer, "chatml")


def test_the_settings_of_transformers_are_those_of_templates(tmp_path: Path) -> None:
    source = (
        "{{ bos_token }}{{ {'é': [1]} | tojson }}"
        "{% for m in messages %}{% if loop.last %}{% break %}{% endif %}{{ m.content }}{% endfor %}"
    )
    [pieces] = made(tmp_path, source).sequences(Chat(TALK.messages[:3]), "all")
    assert whole(pieces) == '<s>{"é": [1]}Be brief.One?'


class OfTransformers:
    """A tokenizer with the methods of ``transformers`` that are used, rendered by the same Jinja."""

    eos_token = "<|im_end|>"
    eos_token_id = 2

    def __init__(self, source: str | None, own: chat.ChatTemplate) -> None:
        self.chat_template = source
        self._own = own
        self.asked: list[dict[str, Any]] = []

    def get_chat_template(self) -> str | None:
        return self.chat_template

    def apply_chat_template(self, messages: list[dict[str, Any]], **options: Any) -> str:
        self.asked.append(options)
        return self._own._render_any(messages, options["tools"], options["add_generation_prompt"])


def test_transformers_renders_its_own_templates(tmp_path: Path) -> None:
    tokenizer: Any = OfTransformers(CHATML, made(tmp_path, CHATML))
    [pieces] = chat_templates.load(tokenizer, None).sequences(TALK, "assistant")
    assert learned(pieces) == ["1<|im_end|>", "2<|im_end|>"]
    assert all(
        options["tokenize"] is False and options["chat_template"] == CHATML for options in tokenizer.asked
    )
