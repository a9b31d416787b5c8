"""A small tokenizer of words, as a folder from which the package ``tokenizers`` reads it."""

from __future__ import annotations

import json
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from tinkex.tokenizers import FastTokenizer

MARKS = ("<|im_start|>", "<|im_end|>")


def write_tokenizer(folder: Path, template: str | None, *, marks: bool = True, spaces: bool = False) -> Path:
    """Write a tokenizer of bytes, with special tokens; with ``spaces`` it puts a space before every text."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = tokenizers.Tokenizer(models.BPE({letter: at for at, letter in enumerate(letters)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=spaces)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<s>", "</s>", *(MARKS if marks else ())])
    backend.save(str(folder / "tokenizer.json"))
    settings: dict[str, object] = {
        "bos_token": "<s>",
        "eos_token": {"__type": "AddedToken", "content": MARKS[1] if marks else "</s>"},
    }
    if template is not None:
        settings["chat_template"] = [{"name": "default", "template": template}]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")
    return folder


def word_tokenizer(
    folder: Path, template: str | None, *, marks: bool = True, spaces: bool = False
) -> FastTokenizer:
    write_tokenizer(folder / "tokenizer", template, marks=marks, spaces=spaces)
    return FastTokenizer(folder / "tokenizer" / "tokenizer.json")
