"""The base models that a server is asked to offer, and the sizes of their vocabularies."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping
from typing import Any

from tinkex import tokenizers
from tinkex.errors import ConfigError, TinkerError
from tinkex.local.model.offered import BYTE_LM, CONTEXT_LENGTH, MAX_VOCAB_SIZE, OfferedModel

LOAD_TIMEOUT = 60.0
"""How many seconds a tokenizer may take to load. A hub that cannot be reached may never answer."""

# The hosted service names variants of a model with a longer context so.
_CONTEXT_LENGTH = re.compile(r":peft:([0-9]{1,8})$")


def wanted_models(models: Mapping[str, int | None] | Iterable[str]) -> dict[str, int | None]:
    """Return the names of ``models`` with the sizes of their vocabularies, or None where no size is given.

    ``models`` maps names to sizes, or holds texts of the form ``NAME`` or ``NAME=SIZE``. Raises ``ConfigError`` for a
    name that is empty or that of the small model, and for a size that is none.
    """
    if isinstance(models, str):
        raise ConfigError(f"models must map names to vocabulary sizes, or be a list of names, not {models!r}")
    found = dict(models) if isinstance(models, Mapping) else dict(map(_parse, models))
    for name, size in found.items():
        if not isinstance(name, str) or not name or not name.isprintable() or name == BYTE_LM.name:
            raise ConfigError(f"a model cannot be named {name!r}")
        is_number = isinstance(size, int) and not isinstance(size, bool)
        if size is not None and (not is_number or not 2 <= size <= MAX_VOCAB_SIZE):
            raise ConfigError(
                f"the vocabulary size of {name} must be a number from 2 to {MAX_VOCAB_SIZE}, not {size!r}"
            )
    return found


def _parse(text: str) -> tuple[str, int | None]:
    if not isinstance(text, str):
        raise ConfigError(f"a model cannot be named {text!r}")
    name, equals, size = text.partition("=")
    if not equals:
        return name, None
    try:
        return name, int(size)
    except ValueError:
        raise ConfigError(f"a model is given as NAME or NAME=SIZE, not {text!r}") from None


def offer(name: str, vocab_size: int | None, timeout: float = LOAD_TIMEOUT) -> OfferedModel:
    """Return a model to offer. Without ``vocab_size`` the model's tokenizer is loaded, and says it.

    Raises ``ConfigError`` if the tokenizer cannot be had within ``timeout`` seconds.
    """
    variant = _CONTEXT_LENGTH.search(name)
    length = max(2, int(variant.group(1))) if variant else CONTEXT_LENGTH
    if vocab_size is not None:
        return OfferedModel(name, vocab_size, max_context_length=length)
    tokenizer = _loaded(name, timeout)
    size = tokenizers.vocabulary_size(tokenizer)
    if not 2 <= size <= MAX_VOCAB_SIZE:
        raise ConfigError(
            f"the tokenizer of {name} has {size} tokens; at most {MAX_VOCAB_SIZE} can be served"
        )
    end = tokenizer.eos_token_id
    return OfferedModel(name, size, end, max_context_length=length, decode=tokenizer.decode)


def _loaded(name: str, timeout: float) -> tokenizers.Tokenizer:
    outcome: dict[str, Any] = {}

    def load() -> None:
        try:
            outcome["tokenizer"] = tokenizers.load(name)
        except Exception as error:  # the packages that load tokenizers raise errors of many kinds
            outcome["error"] = error

    # The packages have no timeout of their own for the whole. The thread ends when their last try fails.
    thread = threading.Thread(target=load, name="tinkex-local-tokenizer", daemon=True)
    thread.start()
    thread.join(timeout)
    if "tokenizer" in outcome:
        found: tokenizers.Tokenizer = outcome["tokenizer"]
        return found
    error = outcome.get("error")
    why = error if isinstance(error, TinkerError) else repr(error) if error else f"none within {timeout:g} s"
    raise ConfigError(
        f"the vocabulary size of {name} is unknown, because its tokenizer could not be loaded: {why}. Give the size: "
        f"--model {name}=SIZE, models={{{name!r}: SIZE}} or local://?model={name}=SIZE"
    ) from error
