"""Reads the content of an answer in bounded memory, whatever the server declares or sends."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Iterator

import requests
import urllib3
from urllib3.exceptions import DecodeError

AT_ONCE = 1 << 20
"""The bytes that are read or decompressed in one step if the size of the content is unknown."""
TRUSTED = 16 << 20
"""The most bytes of memory that are allocated because of ``Content-Length``, before any content has come."""
_AUTOMATIC = zlib.MAX_WBITS | 32
"""The window size with which zlib detects whether data is gzip or deflate."""


class TooLarge(Exception):
    """The content is larger than allowed. The connection has been closed."""


def read_content(answer: requests.Response, most: int) -> bytes:
    """Return the content of ``answer``, decompressed.

    Raises ``TooLarge`` as soon as the declared or actual size exceeds ``most`` bytes, urllib3's
    ``DecodeError`` if the compression is damaged, and the errors of urllib3 and requests if the connection
    breaks.
    """
    raw = answer.raw
    if not isinstance(raw, urllib3.HTTPResponse) or raw.tell():
        # A tool that records, replays or inspects traffic has put its own answer here or has read this one.
        return _collect(answer, answer.iter_content(AT_ONCE), most)
    length = raw.length_remaining
    if length is None:
        first, whole = raw.read(AT_ONCE, decode_content=False), False
    elif length > most:
        answer.close()
        raise TooLarge
    elif length <= TRUSTED:  # without a size, which would cost urllib3 a buffer
        first, whole = raw.read(decode_content=False), True
    else:
        first, whole = raw.read(TRUSTED, decode_content=False), False
    if "Content-Encoding" not in raw.headers:
        return first if whole else _collect(answer, _pieces(raw, first), most)
    encoding = raw.headers["Content-Encoding"].strip().lower()
    return _collect(answer, _inflated([first] if whole else _pieces(raw, first), encoding), most)


def _pieces(raw: urllib3.HTTPResponse, first: bytes = b"") -> Iterator[bytes]:
    yield first
    while piece := raw.read(AT_ONCE, decode_content=False):
        yield piece


def _collect(answer: requests.Response, pieces: Iterable[bytes], most: int) -> bytes:
    content = io.BytesIO()
    for piece in pieces:
        if content.tell() + len(piece) > most:
            answer.close()
            raise TooLarge
        content.write(piece)
    return content.getvalue()


def _inflated(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Decompress in steps, so that a small piece that inflates to gigabytes can be stopped."""
    if encoding == "identity":
        yield from pieces
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise DecodeError(f"the content has the encoding {encoding[:100]!r}, which was not asked for")
    inflate = zlib.decompressobj(_AUTOMATIC)
    began = False
    try:
        for piece in pieces:
            began, full = began or bool(piece), False
            while piece or full:
                if inflate.eof:
                    raise DecodeError(f"the content goes on behind the end of its {encoding}")
                part = inflate.decompress(piece, AT_ONCE)
                yield part
                piece = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
                full = len(part) == AT_ONCE and not inflate.eof
    except zlib.error as error:
        raise DecodeError(f"the content is damaged {encoding}: {error}") from None
    if began and not inflate.eof:
        raise DecodeError(f"the content is {encoding} without an end")
