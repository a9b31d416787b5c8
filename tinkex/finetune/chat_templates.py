"""Finds the chat template of a tokenizer, and renders it by transformers or by Jinja's sandbox."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tinkex._extras import install_command
from tinkex.errors import InputError
from tinkex.finetune.chat import BEGIN, END, ChatTemplate, PlainTemplate
from tinkex.tokenizers import Tokenizer

_CHATML = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.role == 'assistant' %}
        {%- generation %}{{- message.content + '<|im_end|>' }}{%- endgeneration %}
    {%- else %}
        {{- message.content + '<|im_end|>' }}
    {%- endif %}
    {{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
_BLOCK = re.compile(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}")


def load(tokenizer: Tokenizer, choice: str | None) -> ChatTemplate:
    """Return the chat template of a tokenizer; or, as ``choice``, ``chatml``, ``plain`` or one read from a file.

    Without a choice, a tokenizer that has no template gets ``chatml`` if it has its marks as tokens, and the byte
    tokenizer gets ``plain``. Raises ``InputError`` if there is no template, or none that can be used.
    """
    from tinkex.local.byte_tokenizer import ByteTokenizer

    if choice == "plain" or (choice is None and isinstance(tokenizer, ByteTokenizer)):
        return PlainTemplate()
    if choice == "chatml":
        return _made(tokenizer, _CHATML, "chatml")
    if choice is not None:
        try:
            source = Path(choice).read_text("utf-8")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            raise InputError(f"the chat template {choice} cannot be read: {reason}") from None
        return _made(tokenizer, source, Path(choice).name)
    own = _own(tokenizer)
    if own is not None:
        return _made(tokenizer, own, "the tokenizer's")
    marks = [tokenizer.encode(mark, add_special_tokens=False) for mark in ("<|im_start|>", "<|im_end|>")]
    if all(len(mark) == 1 for mark in marks):
        return _made(tokenizer, _CHATML, "chatml")
    raise InputError(
        "the tokenizer has no chat template: give --chat-template chatml, plain, or a file with a Jinja template"
    )


def _own(tokenizer: Any) -> str | None:
    if hasattr(tokenizer, "get_chat_template"):
        if not tokenizer.chat_template:
            return None
        try:
            return str(tokenizer.get_chat_template())
        except ValueError as error:  # there are several, and none is the default
            raise InputError(" ".join(str(error).split())) from None
    found: str | None = getattr(tokenizer, "chat_template", None)
    return found


def _made(tokenizer: Any, source: str, name: str) -> ChatTemplate:
    """Return the template ``source``, rendered by transformers if the tokenizer is one of its own, else by Jinja."""
    marked = _BLOCK.search(source) is not None
    # Text is put where a block begins and ends, since Jinja itself does not know these blocks.
    source = _BLOCK.sub(_mark, source)
    eos = getattr(tokenizer, "eos_token", None)
    if hasattr(tokenizer, "apply_chat_template"):
        _jinja()

        def by_transformers(messages: Sequence[dict[str, Any]], tools: list[Any] | None, prompt: bool) -> str:
            return str(
                tokenizer.apply_chat_template(
                    list(messages),
                    tools=tools,
                    chat_template=source,
                    add_generation_prompt=prompt,
                    tokenize=False,
                )
            )

        return ChatTemplate(by_transformers, name=name, marked=marked, eos=eos)
    try:
        template = _environment().from_string(source)
    except (
        Exception
    ) as error:  # errors of a template that is no Jinja, or of one that asks for what is forbidden
        raise InputError(f"the chat template ({name}) is not one that Jinja can read: {error}") from None
    special = dict(getattr(tokenizer, "special_tokens", {}))

    def by_jinja(messages: Sequence[dict[str, Any]], tools: list[Any] | None, prompt: bool) -> str:
        return str(
            template.render(
                messages=list(messages), tools=tools, documents=None, add_generation_prompt=prompt, **special
            )
        )

    return ChatTemplate(by_jinja, name=name, marked=marked, eos=eos)


def _mark(block: re.Match[str]) -> str:
    # An "if" keeps what a block does to the white space around it.
    left, end, right = block[1], block[2], block[3]
    return f"{{%{left} if true %}}{END if end else BEGIN}{{% endif {right}%}}"


def _jinja() -> Any:
    try:
        return importlib.import_module("jinja2")
    except ImportError:
        raise InputError(f"chat templates need jinja2: {install_command('train')}") from None


def _environment() -> Any:
    """Return the environment that chat templates are written for, which is that of transformers."""
    jinja2 = _jinja()
    sandbox = importlib.import_module("jinja2.sandbox")
    environment = sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    def tojson(value: object, **options: Any) -> str:
        return json.dumps(value, **{"ensure_ascii": False, **options})

    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment
