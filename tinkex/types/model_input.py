"""The input of a model: a sequence of chunks of text, images and audio."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tinkex.errors import InputError
from tinkex.types.checks import content, pack_tokens, whole
from tinkex.types.dmel import DmelChunk

ImageFormat = Literal["png", "jpeg"]


@dataclass(frozen=True)
class EncodedTextChunk:
    """A run of token ids.

    The ids are packed when the chunk is made, so a later change to the list does not change what is sent.
    Raises ``InputError`` for ids that are negative, fractional or too large for int32.
    """

    tokens: Sequence[int]
    type: Literal["encoded_text"] = "encoded_text"
    packed: bytes = field(init=False, repr=False, compare=False)
    """The ids as little-endian int32, shape ``(length,)``."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "packed", pack_tokens(self.tokens))

    @property
    def length(self) -> int:
        """The number of tokens."""
        return len(self.packed) // 4

    @property
    def nbytes(self) -> int:
        """The size in bytes: 4 for each token."""
        return len(self.packed)


@dataclass(frozen=True)
class ImageChunk:
    """An image, as the bytes of a PNG or JPEG file. Base64 text is decoded."""

    data: bytes
    format: ImageFormat
    expected_tokens: int | None = None
    """The number of tokens of the image. If given, the server refuses an image with another number early."""
    type: Literal["image"] = "image"

    def __post_init__(self) -> None:
        _check_image(self.format, self.expected_tokens)
        object.__setattr__(self, "data", content("image data", self.data))

    @property
    def length(self) -> int:
        """Number of tokens; raises ``InputError`` unless ``expected_tokens`` says it."""
        return _image_length(self.expected_tokens)

    @property
    def nbytes(self) -> int:
        """The size of the file in bytes."""
        return len(self.data)


@dataclass(frozen=True)
class ImageAssetPointerChunk:
    """An image that the server fetches from ``location``."""

    location: str
    format: ImageFormat
    expected_tokens: int | None = None
    type: Literal["image_asset_pointer"] = "image_asset_pointer"

    def __post_init__(self) -> None:
        _check_image(self.format, self.expected_tokens)

    @property
    def length(self) -> int:
        """Number of tokens; raises ``InputError`` unless ``expected_tokens`` says it."""
        return _image_length(self.expected_tokens)

    @property
    def nbytes(self) -> int:
        """The size of the address in bytes; the image itself is not sent."""
        return len(self.location)


ModelInputChunk = EncodedTextChunk | ImageAssetPointerChunk | ImageChunk | DmelChunk


@dataclass(frozen=True)
class ModelInput:
    """A sequence of chunks, usually made from text: ``ModelInput.from_ints(tokenizer.encode(text))``."""

    chunks: list[ModelInputChunk]

    def __post_init__(self) -> None:
        if isinstance(self.chunks, (str, bytes)) or not isinstance(self.chunks, Iterable):
            raise InputError(f"ModelInput takes a list of chunks, not {type(self.chunks).__name__}")
        object.__setattr__(self, "chunks", list(self.chunks))
        for chunk in self.chunks:
            if not isinstance(chunk, (EncodedTextChunk, ImageAssetPointerChunk, ImageChunk, DmelChunk)):
                raise InputError(
                    f"ModelInput takes chunks, not {type(chunk).__name__}; for token ids use ModelInput.from_ints"
                )

    @classmethod
    def from_ints(cls, tokens: Sequence[int]) -> ModelInput:
        """Return an input of one text chunk with these token ids."""
        return cls([EncodedTextChunk(tokens)])

    @classmethod
    def empty(cls) -> ModelInput:
        """Return an input without chunks."""
        return cls([])

    def append(self, chunk: ModelInputChunk) -> ModelInput:
        """Return a new input with ``chunk`` at the end."""
        return ModelInput([*self.chunks, chunk])

    def append_int(self, token: int) -> ModelInput:
        """Return a new input with one token more at the end."""
        return self.append(EncodedTextChunk([token]))

    def to_ints(self) -> list[int]:
        """Return all token ids. Raises ``InputError`` if a chunk is an image or audio."""
        tokens: list[int] = []
        for chunk in self.chunks:
            if not isinstance(chunk, EncodedTextChunk):
                raise InputError("an input with images or audio has no plain token ids")
            tokens.extend(chunk.tokens)
        return tokens

    @property
    def length(self) -> int:
        """The number of tokens of all chunks. Raises ``InputError`` if the length of an image is unknown."""
        return sum(chunk.length for chunk in self.chunks)

    @property
    def nbytes(self) -> int:
        """The estimated size in a proto body, in bytes: 4 for each text token, and the data of images and audio."""
        return sum(chunk.nbytes for chunk in self.chunks)


def _check_image(image_format: str, expected_tokens: int | None) -> None:
    if image_format not in ("png", "jpeg"):
        raise InputError(f"image format must be 'png' or 'jpeg', not {image_format!r}")
    if expected_tokens is not None:
        whole("expected_tokens", expected_tokens, at_least=0)


def _image_length(expected_tokens: int | None) -> int:
    if expected_tokens is None:
        raise InputError("the length of an image is known only if expected_tokens is set")
    return expected_tokens
