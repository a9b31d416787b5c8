"""The tokenizer of ``tinkex/byte-lm``: a token for each byte of UTF-8, and one that ends a text."""

from __future__ import annotations

from collections.abc import Iterable

END_OF_TEXT = 256
VOCAB_SIZE = 257


class ByteTokenizer:
    """Tokens 0 to 255 are bytes; token 256 ends a text."""

    name_or_path = "tinkex/byte-tokenizer"
    vocab_size = VOCAB_SIZE
    eos_token_id = END_OF_TEXT
    eos_token = "<|endoftext|>"

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """The UTF-8 bytes of ``text``; with ``add_special_tokens``, end-of-text after them."""
        tokens = list(text.encode("utf-8"))
        return [*tokens, END_OF_TEXT] if add_special_tokens else tokens

    def decode(self, tokens: Iterable[int] | int, skip_special_tokens: bool = True) -> str:
        """The text of ``tokens``.

        Bytes that are not UTF-8 become U+FFFD, since a sample may stop within a character. End-of-text is left out, or
        spelled as ``eos_token`` without ``skip_special_tokens``. Raises ``ValueError`` if a token is not in 0 to 256.
        """
        data = bytearray()
        for token in [tokens] if isinstance(tokens, int) else tokens:
            if token == END_OF_TEXT:
                data += b"" if skip_special_tokens else self.eos_token.encode()
            elif 0 <= token < END_OF_TEXT:
                data.append(token)
            else:
                raise ValueError(f"token {token} is outside the vocabulary 0..{END_OF_TEXT}")
        return data.decode("utf-8", errors="replace")

    def __len__(self) -> int:
        return VOCAB_SIZE
