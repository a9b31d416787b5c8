"""The input of a model: a sequence of chunks of text, images and audio."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tinkex.errors import InputError
from tinkex.types.checks import content, integral, pack_tokens, tag, unpack
from tinkex.types.data import Data
from tinkex.types.descriptors import Made
from tinkex.types.dmel import DmelChunk

ImageFormat = Literal["png", "jpeg"]

_SHOWN = 8
"""The most tokens of a chunk that its ``repr`` shows."""


class _Tokens(Made):
    """The token ids of a chunk. Each access makes a new list, so the chunk itself cannot be changed."""

    def make(self, chunk: EncodedTextChunk) -> list[int]:
        return unpack(chunk.packed, "i")


@dataclass(frozen=True, init=False, eq=False, repr=False)
class EncodedTextChunk(Data):
    """A run of token ids, from any sequence of whole numbers: a list, a numpy array, a torch tensor.

    The chunk has a copy of the ids, so a later change to the caller's list does not change it; ``tokens`` is a new
    list at each access. Raises ``InputError`` for ids that are negative, fractional or too large for int32.
    """

    tokens: list[int]
    type: Literal["encoded_text"] = "encoded_text"

    if not TYPE_CHECKING:  # a type checker would take it for a default
        tokens = _Tokens()

    def __init__(self, tokens: Sequence[int], type: Literal["encoded_text"] = "encoded_text") -> None:
        tag(self, type)
        self.__dict__["packed"] = pack_tokens(tokens)

    def __repr__(self) -> str:
        if self.length <= _SHOWN:
            return f"EncodedTextChunk(tokens={self.tokens})"
        first = ", ".join(map(str, unpack(self.packed[: 4 * _SHOWN], "i")))
        return f"EncodedTextChunk(tokens=[{first}, ...], length={self.length})"

    def __eq__(self, other: object) -> bool:
        return self.packed == other.packed if isinstance(other, EncodedTextChunk) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.packed)

    @property
    def length(self) -> int:
        """The number of tokens."""
        return len(self.packed) // 4

    @property
    def packed(self) -> bytes:
        """The ids as little-endian int32, shape ``(length,)``."""
        packed: bytes = self.__dict__["packed"]
        return packed

    @property
    def nbytes(self) -> int:
        """The size in bytes: 4 for each token."""
        return len(self.packed)


@dataclass(frozen=True)
class ImageChunk(Data):
    """An image, as the bytes of a PNG or JPEG file. Base64 text is decoded."""

    data: bytes
    format: ImageFormat
    expected_tokens: int | None = None
    """The number of tokens of the image. If given, the server refuses an image with another number early."""
    type: Literal["image"] = "image"

    def __post_init__(self) -> None:
        tag(self, self.type)
        _check_image(self)
        self.__dict__["data"] = content("image data", self.data)

    @property
    def length(self) -> int:
        """Number of tokens; raises ``InputError`` unless ``expected_tokens`` says it."""
        return _image_length(self.expected_tokens)

    @property
    def nbytes(self) -> int:
        """The size of the file in bytes."""
        return len(self.data)


@dataclass(frozen=True)
class ImageAssetPointerChunk(Data, dumped="format location expected_tokens type"):
    """An image that the server fetches from ``location``."""

    location: str
    format: ImageFormat
    expected_tokens: int | None = None
    type: Literal["image_asset_pointer"] = "image_asset_pointer"

    def __post_init__(self) -> None:
        tag(self, self.type)
        _check_image(self)

    @property
    def length(self) -> int:
        """Number of tokens; raises ``InputError`` unless ``expected_tokens`` says it."""
        return _image_length(self.expected_tokens)

    @property
    def nbytes(self) -> int:
        """The size of the address in bytes; the image itself is not sent."""
        return len(self.location)


ModelInputChunk = EncodedTextChunk | ImageAssetPointerChunk | ImageChunk | DmelChunk

_CHUNKS: dict[str, type[Any]] = {
    "tokens": EncodedTextChunk,
    "location": ImageAssetPointerChunk,
    "data": ImageChunk,
    "dmel": DmelChunk,
}
"""The chunks by a field that no other has."""


@dataclass(frozen=True)
class ModelInput(Data, own=("chunks",)):
    """A sequence of chunks, usually made from text: ``ModelInput.from_ints(tokenizer.encode(text))``.

    A chunk may also be given as a dictionary: ``{"type": "encoded_text", "tokens": [1, 2]}``. An input cannot be
    changed: ``append`` returns a new one, and ``chunks`` is a new list at each access. Raises ``InputError`` for
    anything that is no chunk.
    """

    chunks: list[ModelInputChunk]

    def __post_init__(self) -> None:
        given = self.__dict__["chunks"]
        if not isinstance(given, tuple) and (  # a tuple is what OwnList makes of a list
            isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable)
        ):
            raise InputError(f"ModelInput takes a list of chunks, not {type(given).__name__}")
        self.__dict__["chunks"] = tuple(map(_chunk, given))

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
            tokens += chunk.tokens
        return tokens

    @property
    def length(self) -> int:
        """The number of tokens of all chunks. Raises ``InputError`` if the length of an image is unknown."""
        return sum(chunk.length for chunk in self.__dict__["chunks"])

    @property
    def known_length(self) -> int:
        """The number of tokens of all chunks but the images whose length is unknown."""
        unknown = (ImageChunk, ImageAssetPointerChunk)
        return sum(
            0 if isinstance(chunk, unknown) and chunk.expected_tokens is None else chunk.length
            for chunk in self.chunks
        )

    @property
    def nbytes(self) -> int:
        """The estimated size in a proto body, in bytes: 4 for each text token, and the data of images and audio."""
        return sum(chunk.nbytes for chunk in self.__dict__["chunks"])


def _chunk(given: object) -> ModelInputChunk:
    """Return ``given`` if it is a chunk, or the chunk that a dictionary describes."""
    if isinstance(given, (EncodedTextChunk, ImageAssetPointerChunk, ImageChunk, DmelChunk)):
        return given
    if isinstance(given, Mapping):
        for name, kind in _CHUNKS.items():
            if given.get("type") == kind.type or ("type" not in given and name in given):
                chunk: ModelInputChunk = kind.model_validate(given)
                return chunk
        raise InputError(f"a chunk has a type such as 'encoded_text', not {given.get('type')!r}")
    raise InputError(
        f"ModelInput takes chunks, not {type(given).__name__}; for token ids use ModelInput.from_ints"
    )


def _check_image(chunk: ImageChunk | ImageAssetPointerChunk) -> None:
    if chunk.format not in ("png", "jpeg"):
        raise InputError(f"image format must be 'png' or 'jpeg', not {chunk.format!r}")
    if chunk.expected_tokens is not None:
        chunk.__dict__["expected_tokens"] = integral("expected_tokens", chunk.expected_tokens, at_least=0)


def _image_length(expected_tokens: int | None) -> int:
    if expected_tokens is None:
        raise InputError("the length of an image is known only if expected_tokens is set")
    return expected_tokens
