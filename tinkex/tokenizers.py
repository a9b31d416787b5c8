"""Tokenizers by model name: through ``transformers`` where it is installed, else through ``tokenizers``."""

from __future__ import annotations

import contextlib
import importlib
import json
from pathlib import Path
from typing import Any, Protocol

from tinkex.errors import TinkerError

BYTE_MODEL = "tinkex/byte-lm"
BYTE_TOKENIZER = "tinkex/byte-tokenizer"

# Both constants follow the official SDK. The repositories of the Llama 3 models are gated, so their tokenizer
# comes from a copy. Some tokenizers need remote code, which is pinned to a known revision.
_LLAMA_3 = "thinkingmachineslabinc/meta-llama-3-instruct-tokenizer"
_REMOTE_CODE = {
    "moonshotai/Kimi-K2-Thinking": "612681931a8c906ddb349f8ad0f582cb552189cd",
    "moonshotai/Kimi-K2.5": "4d01dfe0332d63057c186e0b262165819efb6611",
    "moonshotai/Kimi-K2.6": "b5aabbfb20227ed42becbf5541dbffd213942c58",
}


class Tokenizer(Protocol):
    """The methods that every tokenizer returned by ``load`` has. Those of ``transformers`` have more."""

    @property
    def eos_token_id(self) -> int | None:
        """The id of the token that ends a text, or None if the tokenizer has none."""

    def encode(self, text: str, *, add_special_tokens: bool = ...) -> list[int]:
        """Return the token ids of ``text``, by default with the special tokens that the tokenizer adds."""

    def decode(self, tokens: list[int]) -> str:
        """Return the text of ``tokens``."""


def tokenizer_id(model_name: str) -> str:
    """Return the repository or folder of a model's tokenizer.

    It is the model's own repository, with the exceptions that the official SDK makes. A ``:suffix`` of the
    name is dropped, and ``org/model/variant`` means ``org/model``.
    """
    name = model_name.split(":")[0]
    if name.startswith("meta-llama/Llama-3"):
        return _LLAMA_3
    if name == "moonshotai/Kimi-K2.5-Text-Only":
        return "moonshotai/Kimi-K2.5"
    if name.count("/") == 2 and not name.startswith(("/", ".")):
        return name.rpartition("/")[0]
    return name


def load(model_name: str, known_id: str | None = None) -> Tokenizer:
    """Load the tokenizer of a model, from ``known_id`` (a repository or folder) or else by the model's name.

    Raises ``TinkerError`` if the tokenizer cannot be found, or if neither ``transformers`` nor ``tokenizers``
    is installed.
    """
    name = known_id or tokenizer_id(model_name)
    if BYTE_TOKENIZER in (name, known_id) or model_name == BYTE_MODEL:
        byte_tokenizer: Tokenizer = importlib.import_module("tinkex.local.byte_tokenizer").ByteTokenizer()
        return byte_tokenizer
    try:
        transformers = importlib.import_module("transformers")
    except ImportError:
        return _load_fast(name)
    options: dict[str, Any] = {}
    if name in _REMOTE_CODE:
        options = {"trust_remote_code": True, "revision": _REMOTE_CODE[name]}
    try:
        tokenizer: Tokenizer = transformers.AutoTokenizer.from_pretrained(name, **options)
    except Exception as error:  # what is wrong with its files shows in many ways
        raise TinkerError(f"no tokenizer {name!r} to be had: {error}") from error
    return tokenizer


def vocabulary_size(tokenizer: Tokenizer) -> int:
    """Return one more than the largest token id of ``tokenizer``, special tokens included.

    A model may have a larger vocabulary than its tokenizer, because models round the number up.
    """
    vocabulary = getattr(tokenizer, "get_vocab", None)
    return 1 + max(vocabulary().values()) if vocabulary is not None else len(tokenizer)  # type: ignore[arg-type]


class FastTokenizer:
    """A tokenizer read from a file ``tokenizer.json`` by the ``tokenizers`` package.

    The files ``tokenizer_config.json`` and ``chat_template.jinja`` beside it are read if they are there.
    """

    def __init__(self, path: Path) -> None:
        self.backend: Any = importlib.import_module("tokenizers").Tokenizer.from_file(str(path))
        config = path.with_name("tokenizer_config.json")
        settings = json.loads(config.read_text("utf-8")) if config.exists() else {}
        special = {name: _content(value) for name, value in settings.items() if name.endswith("_token")}
        self.special_tokens: dict[str, str] = {name: text for name, text in special.items() if text}
        """The texts of the special tokens, by names such as ``bos_token``."""
        self.eos_token: str | None = self.special_tokens.get("eos_token")
        self.eos_token_id: int | None = self.backend.token_to_id(self.eos_token) if self.eos_token else None
        self.chat_template: str | None = _chat_template(path.with_name("chat_template.jinja"), settings)
        """The Jinja source of the chat template, or None if the tokenizer has none."""

    def get_vocab(self) -> dict[str, int]:
        """Return the id of each token, special tokens included."""
        return dict(self.backend.get_vocab(with_added_tokens=True))

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Return the token ids of ``text``, with the special tokens that the tokenizer adds."""
        return list(self.backend.encode(text, add_special_tokens=add_special_tokens).ids)

    def decode(self, tokens: list[int]) -> str:
        """Return the text of ``tokens``, special tokens included."""
        return str(self.backend.decode(list(tokens), skip_special_tokens=False))


def _content(token: Any) -> str | None:
    """Return the text of a special token, which a configuration gives as text or as an object."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None


def _chat_template(file: Path, settings: dict[str, Any]) -> str | None:
    if file.exists():
        return file.read_text("utf-8")
    template = settings.get("chat_template")
    if isinstance(template, list):  # several, by name
        named = {each.get("name"): each.get("template") for each in template if isinstance(each, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None


def _load_fast(name: str) -> FastTokenizer:
    try:
        importlib.import_module("tokenizers")
    except ImportError:
        from tinkex._extras import install_command

        raise TinkerError(
            f"no package can load the tokenizer {name!r}: {install_command('tokenizers')} (or transformers)"
        ) from None
    path = Path(name) / "tokenizer.json"
    if not path.exists():
        try:
            hub = importlib.import_module("huggingface_hub")
            path = Path(hub.hf_hub_download(name, "tokenizer.json"))
            for more in ("tokenizer_config.json", "chat_template.jinja"):
                with contextlib.suppress(Exception):  # not every repository has them
                    hub.hf_hub_download(name, more)
        except Exception as error:  # the hub's client raises errors of several libraries
            raise TinkerError(
                f"no tokenizer {name!r} to be had: not a folder with a tokenizer.json, and not from the hub: {error}"
            ) from error
    return FastTokenizer(path)
