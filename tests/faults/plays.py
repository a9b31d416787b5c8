"""The ways in which an answer goes wrong, to be named and listed by the catalogue."""

from __future__ import annotations

import gzip
import json
import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

from .proxy import Answer, Exchange, Play, Unread

PIECE = 0.03
"""Seconds between the bytes of an answer that drips."""
KEY = "{KEY}"
"""In an answer's text: the key that came with the request."""


def key_of(exchange: Exchange) -> str:
    return exchange.request.headers.get("x-api-key", "")


# ---- answers that are whole, and wrong ----


def answers(answer: Answer, keep: bool = True) -> Play:
    """This very answer, with the key put where it says ``{KEY}``."""

    def play(exchange: Exchange) -> None:
        key = key_of(exchange)
        headers = {name: value.replace(KEY, key) for name, value in answer.headers.items()}
        exchange.send(
            Answer(answer.status, answer.body.replace(KEY.encode(), key.encode()), headers).encode()
        )
        if not keep:
            exchange.end()

    return play


def made(answer: Callable[[], Answer]) -> Play:
    """An answer that is large, and made when it is first asked for."""

    def play(exchange: Exchange) -> None:
        exchange.send(answer().encode())

    return play


def raw(data: bytes) -> Play:
    """These bytes, with the key put where they say ``{KEY}``, and the end of the connection."""

    def play(exchange: Exchange) -> None:
        exchange.send(data.replace(KEY.encode(), key_of(exchange).encode()))
        exchange.end()

    return play


def redirects(status: int, location: str | None = "{OTHER}/elsewhere") -> Play:
    """To another host, or to wherever ``location`` says."""

    def play(exchange: Exchange) -> None:
        headers = {"Content-Type": "text/html"}
        if location is not None:
            other = exchange.proxy.other_url
            target = location.replace("{OTHER}", other).replace("{SELF}", exchange.proxy.url)
            headers["Location"] = target.replace(KEY, key_of(exchange))
        exchange.send(Answer(status, b"<a>moved</a>", headers).encode())

    return play


def repeats(path: str) -> Play:
    """The last answer that went through of ``path``; that of the request's own path for ``""``."""

    def play(exchange: Exchange) -> None:
        earlier = exchange.proxy.earlier.get(path or exchange.request.path)
        exchange.send((earlier or Answer.of(503, {"detail": "nothing to repeat"})).encode())

    return play


# ---- no answer, or part of one ----


def cut_unread(exchange: Exchange) -> None:
    """A reset before the request's body is read."""
    exchange.reset()


reset_unread = Unread(cut_unread)


def reset_after(exchange: Exchange) -> None:
    exchange.reset()


def close_after(exchange: Exchange) -> None:
    exchange.end()


def refuse(exchange: Exchange) -> None:
    """Nobody listens for a moment, for a second, or until the fault is over."""
    seconds = {"once": 0.05, "while": 1.0, "ever": 3600.0}[exchange.mode]
    exchange.keep = False
    exchange.proxy.refuse(seconds, exchange.proxy.plan)


def silence(exchange: Exchange) -> None:
    exchange.hold()


def late(seconds: float) -> Play:
    """The server's answer, ``seconds`` later."""

    def play(exchange: Exchange) -> None:
        answer = exchange.ask()
        if exchange.hold(seconds):
            exchange.send(answer.encode())

    return play


def part(cut: Callable[[Answer], bytes], then: str) -> Play:
    """The first bytes of the server's answer, and ``then``: ``end``, ``reset``, or ``hold`` the connection."""

    def play(exchange: Exchange) -> None:
        exchange.send(cut(exchange.ask()))
        if then == "hold":
            exchange.hold()
        elif then == "reset":
            # The bytes must arrive before the reset, which may overtake them.
            exchange.hold(0.02)
            exchange.reset()
        exchange.keep = False

    return play


def drips(answer_of: Callable[[Exchange], bytes], then_hold: bool = False) -> Play:
    """The bytes a few at a time."""

    def play(exchange: Exchange) -> None:
        data = answer_of(exchange)
        step = max(1, len(data) // 12)
        for at in range(0, len(data), step):
            if not exchange.send(data[at : at + step]) or not exchange.hold(PIECE):
                return
        exchange.keep = not then_hold

    return play


def endless(head: bytes, piece: bytes, pause: float) -> Play:
    """``head``, then ``piece`` again and again until the client leaves or the fault is over."""

    def play(exchange: Exchange) -> None:
        exchange.keep = False
        if not exchange.send(head):
            return
        while exchange.send(piece):
            if pause and not exchange.hold(pause):
                return
            if exchange.proxy.plan.over.is_set():
                return

    return play


def first(head: bytes, and_then: Play | None = None) -> Play:
    """``head``, and then the server's answer, or another play."""

    def play(exchange: Exchange) -> None:
        answer = exchange.ask() if and_then is None else None
        exchange.send(head)
        if answer is not None:
            exchange.send(answer.encode())
        elif and_then is not None:
            and_then(exchange)

    return play


# ---- the server's answer, damaged ----


def altered(alter: Callable[[Answer], Answer], **ask: str) -> Play:
    """The server's answer after ``alter``; ``ask`` are headers of the request that the server gets."""

    def play(exchange: Exchange) -> None:
        exchange.send(alter(exchange.ask(**ask)).encode())

    return play


def reframed(frame: Callable[[Answer], bytes], then: str = "end") -> Play:
    """The server's answer written in another way; then the connection ends, or is kept or held."""

    def play(exchange: Exchange) -> None:
        exchange.send(frame(exchange.ask()))
        if then == "hold":
            exchange.hold()
        exchange.keep = then == "keep"

    return play


def document(change: Callable[[Any], Any]) -> Play:
    """The server's answer as JSON after ``change``; where it is no JSON object, nothing at all."""

    def alter(answer: Answer) -> Answer:
        try:
            found = json.loads(answer.body)
        except ValueError:
            return replace(answer, body=b"")
        return replace(answer, body=json.dumps(change(found)).encode())

    return altered(alter, accept="application/json")


def head_of(answer: Answer, **headers: str) -> bytes:
    """The head of ``answer`` with other ``headers`` (``_`` for ``-``); an empty one is left out."""
    changed = {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [line for line in answer.head().decode("latin-1").split("\r\n") if line]
    kept = [line for line in lines if line.partition(":")[0].lower() not in {n.lower() for n in changed}]
    kept += [f"{name}: {value}" for name, value in changed.items() if value]
    return ("\r\n".join(kept) + "\r\n\r\n").encode("latin-1")


def chunked(size_line: Callable[[bytes], bytes], end: bytes = b"0\r\n\r\n") -> Callable[[Answer], bytes]:
    """Writes an answer as one chunk, whose size is said by ``size_line``."""

    def frame(answer: Answer) -> bytes:
        head = head_of(answer, Content_Length="", Transfer_Encoding="chunked")
        return head + size_line(answer.body) + b"\r\n" + answer.body + b"\r\n" + end

    return frame


def mutated(seed: int) -> Callable[[Answer], Answer]:
    """Flips, drops, doubles or inserts a few bytes, the same ones for one ``seed``."""

    def alter(answer: Answer) -> Answer:
        chance = random.Random(seed)
        body = bytearray(answer.body)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(body) + 1)
            kind = chance.randrange(4)
            if kind == 0 and at < len(body):
                body[at] ^= 1 << chance.randrange(8)
            elif kind == 1:
                del body[at : at + chance.randint(1, 8)]
            elif kind == 2:
                body[at:at] = body[at : at + chance.randint(1, 8)]
            else:
                body[at:at] = chance.randbytes(chance.randint(1, 4))
        return replace(answer, body=bytes(body))

    return alter


# ---- bombs: small here, large there ----


@cache
def gzip_bomb(megabytes: int) -> bytes:
    """A gzip stream of that many megabytes of spaces in a JSON text."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    parts = [packer.compress(b'{"request_id": "')]
    block = b" " * (1 << 20)
    parts += [packer.compress(block) for _ in range(megabytes)]
    parts += [packer.compress(b'"}'), packer.flush()]
    return b"".join(parts)


def streams(head: bytes, pieces: Callable[[], Iterator[bytes]]) -> Play:
    """``head``, then all ``pieces`` as fast as they are taken."""

    def play(exchange: Exchange) -> None:
        exchange.keep = False
        if not exchange.send(head):
            return
        for piece in pieces():
            if exchange.proxy.plan.over.is_set() or not exchange.send(piece):
                return

    return play


def packed(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)


# ---- proto messages, by hand ----


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def number_field(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def bytes_field(field: int, value: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(value)) + value


def proto(message: bytes) -> Answer:
    return Answer(200, message, {"Content-Type": "application/x-protobuf"})
