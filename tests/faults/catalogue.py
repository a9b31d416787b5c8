"""The faults, in one table: name, family, how it plays, and what may be expected of a client that meets it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from . import plays as p
from .proxy import Answer, Exchange, Play, Unread

When = Literal["before", "after", "with"]
SiteKind = Literal["promise", "result", "control", "void", "file"]

ANYWHERE: frozenset[SiteKind] = frozenset({"promise", "result", "control", "void", "file"})
JSON_SITES: frozenset[SiteKind] = frozenset({"promise", "result", "control"})
PROMISE: frozenset[SiteKind] = frozenset({"promise"})
RESULT: frozenset[SiteKind] = frozenset({"result"})
CONTROL: frozenset[SiteKind] = frozenset({"control"})


@dataclass(frozen=True)
class Fault:
    """One fault.

    ``plays`` strike one after the other, the last one again where the mode repeats it. ``when`` says whether
    the server has done the work: ``before`` it never hears of the request, ``after`` it has done it and its
    answer is thrown away, ``with`` the server's own answer is what is damaged.
    """

    name: str
    family: str
    plays: tuple[Play, ...]
    when: When = "with"
    at: frozenset[SiteKind] = ANYWHERE
    own: bool = False
    """A refusal in the server's own JSON, which a client may believe, even where it is a lie."""
    patient: bool = False
    """As long as it lasts the server asks for patience, so a client that still waits does right."""
    blind: bool = False
    """What is damaged looks as it should, so nobody can tell that a value is wrong."""
    lead: bool = False
    """One of the few of its family that strike everywhere and in every mode."""


def _after(play: Play) -> Play:
    def work_then_play(exchange: Exchange) -> None:
        exchange.ask()
        play(exchange)

    return work_then_play


def _named(name: str, play: Play) -> Play:
    def named(exchange: Exchange) -> None:
        play(exchange)

    named.name = name  # type: ignore[attr-defined]
    return named


class _Table:
    """Collects the faults, each under a name of its own."""

    def __init__(self) -> None:
        self.faults: dict[str, Fault] = {}

    def add(self, fault: Fault) -> None:
        assert fault.name not in self.faults, fault.name
        self.faults[fault.name] = fault

    def around(self, family: str, name: str, *played: Play, **about: Any) -> None:
        """A fault before the work, and the same one after it."""
        self.add(Fault(f"{name}.before", family, played, "before", **about))
        after = (_after(played[0]), *(_after(play) for play in played[1:]))
        self.add(Fault(f"{name}.after", family, after, "after", **about))

    def on(self, family: str, name: str, *played: Play, **about: Any) -> None:
        """A fault that damages the server's own answer, or whose plays ask the server themselves."""
        self.add(Fault(name, family, played, "with", **about))


def _html(
    status: int, text: str = "<html><body><h1>Odd gateway</h1></body></html>", **headers: str
) -> Answer:
    return Answer(status, text.encode(), {"Content-Type": "text/html", **headers})


def _json(body: bytes, status: int = 200) -> Answer:
    return Answer(status, body, {"Content-Type": "application/json"})


STATUSES = (
    400, 401, 402, 403, 404, 405, 408, 409, 410, 413, 415, 422, 429,
    500, 501, 502, 503, 504, 507, 520, 529, 599,
)  # fmt: skip
_LEAD_STATUSES = (400, 404, 429, 503)
_WAITS = {
    "0": "0",
    "1": "1",
    "negative": "-1",
    "a-day": "86000",
    "infinite": "1e400",
    "nan": "nan",
    "year-2100": "Fri, 01 Jan 2100 00:00:00 GMT",
    "year-9999": "Fri, 31 Dec 9999 23:59:59 GMT",
    "year-0": "Mon, 01 Jan 0000 00:00:00 GMT",
    "zone": "Fri, 31 Dec 9999 23:59:59 -9959",
    "garbage": "soon; really \x80",
    "many-digits": "9" * 5000,
}


def _make() -> dict[str, Fault]:
    table = _Table()
    for add in (_connection, _silence, _statuses, _redirects, _waits, _informational, _shapes, _framing,
                _heads, _json_bombs, _packing, _damaged_results, _swapped, _keys, _lost_then):  # fmt: skip
        add(table)
    named = {}
    for name, fault in table.faults.items():
        marked = tuple(_named(f"{name}[{at}]", play) for at, play in enumerate(fault.plays))
        if any(isinstance(play, Unread) for play in fault.plays):
            marked = tuple(Unread(play) for play in marked)
        named[name] = replace(fault, plays=marked)
    return named


def _connection(table: _Table) -> None:
    table.on("no fault", "nothing", p.first(b""), lead=True)
    table.on("connection", "refused", p.refuse, lead=True)
    table.on("connection", "reset-unread", p.reset_unread)
    table.around("connection", "reset", p.reset_after, lead=True)
    table.around("connection", "closed", p.close_after)
    table.on("cut", "cut-in-status", p.part(lambda a: a.head()[:7], "end"))
    table.on("cut", "cut-in-headers", p.part(lambda a: a.head()[:40], "end"), lead=True)
    table.on("cut", "reset-in-headers", p.part(lambda a: a.head()[:40], "reset"))
    table.on("cut", "cut-after-headers", p.part(lambda a: a.head(), "end"), lead=True)
    table.on("cut", "reset-after-headers", p.part(lambda a: a.head(), "reset"))
    table.on("cut", "cut-in-body", p.part(lambda a: a.head() + a.body[: len(a.body) // 2], "end"), lead=True)
    table.on("cut", "reset-in-body", p.part(lambda a: a.head() + a.body[: len(a.body) // 2], "reset"))
    table.on("cut", "last-byte-missing", p.part(lambda a: a.encode()[:-1], "end"))


def _silence(table: _Table) -> None:
    table.around("silence", "silence", p.silence, lead=True)
    table.on("silence", "silent-in-headers", p.part(lambda a: a.head()[:40], "hold"))
    table.on("silence", "silent-after-headers", p.part(lambda a: a.head(), "hold"))
    table.on("silence", "silent-in-body", p.part(lambda a: a.encode()[:-1], "hold"))
    table.on("silence", "late", p.late(0.3))
    table.on("silence", "drips", p.drips(lambda exchange: exchange.ask().encode()))
    table.around(
        "silence",
        "drips-for-ever",
        p.endless(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b" ", 0.1),
    )
    table.around("silence", "headers-for-ever", p.endless(b"HTTP/1.1 200 OK\r\n", b"X-Drip: 1\r\n", 0.2))
    table.around("silence", "one-header-for-ever", p.endless(b"HTTP/1.1 200 OK\r\nX-Drip: ", b"1", 0.1))


def _statuses(table: _Table) -> None:
    for status in STATUSES:
        lead = status in _LEAD_STATUSES
        # What a proxy says of a request that asks for patience, or is asked again, is no refusal.
        waits = status in (402, 408, 429)
        patient: dict[str, Any] = {"patient": waits}
        table.around("status", f"status-{status}-empty", p.answers(Answer(status)), **patient)
        table.around("status", f"status-{status}-html", p.answers(_html(status)), lead=lead, **patient)
        own: dict[str, Any] = {"own": status < 500 and status != 408, **patient}
        detail = Answer.of(status, {"detail": "refused here"})
        table.around("status", f"status-{status}-json", p.answers(detail), lead=lead, **own)
        echo = Answer.of(status, {"detail": f"bad key {p.KEY}", "you": {"sent": p.KEY}}, **{"X-Key": p.KEY})
        table.around("key", f"status-{status}-key", p.answers(echo), **own)


def _redirects(table: _Table) -> None:
    for status in (300, 301, 302, 303, 304, 305, 307, 308):
        table.around("redirect", f"redirect-{status}", p.redirects(status), lead=status == 307)
    table.around("redirect", "redirect-nowhere", p.redirects(302, None))
    table.around("redirect", "redirect-loop", p.redirects(307, "{SELF}/api/v1/healthz"))
    table.around("redirect", "redirect-file", p.redirects(302, "file:///etc/hostname"))
    table.around("redirect", "redirect-key", p.redirects(302, "{OTHER}/?key={KEY}"))


def _waits(table: _Table) -> None:
    for name, value in _WAITS.items():
        for status in (429, 503):
            answer = Answer.of(status, {"detail": "later"}, **{"Retry-After": value})
            lead = name in ("a-day", "year-9999") and status == 503
            patient = status == 429
            table.around(
                "retry-after", f"retry-after-{name}-{status}", p.answers(answer), lead=lead, patient=patient,
                own=patient,
            )  # fmt: skip
    for name, value in {"day": "86000000", "nan": "nan", "infinite": "1e400", "negative": "-5"}.items():
        answer = Answer.of(503, {"detail": "later"}, **{"retry-after-ms": value})
        table.around("retry-after", f"retry-after-ms-{name}", p.answers(answer))
    no_retry = Answer.of(503, {"detail": "no"}, **{"X-Should-Retry": "false"})
    table.around("retry-after", "should-not-retry", p.answers(no_retry))


def _informational(table: _Table) -> None:
    for status in (100, 102, 103, 199):
        line = f"HTTP/1.1 {status} Wait\r\nLink: </x>\r\n\r\n".encode()
        table.on("1xx", f"{status}-then-answer", p.first(line))
        table.around("1xx", f"{status}-then-end", p.raw(line))
        table.around("1xx", f"{status}-flood", p.endless(line, line * 50, 0.01), lead=status == 103)
    table.around(
        "1xx", "101-switching", p.raw(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
    )


def _shapes(table: _Table) -> None:
    table.around("no-content", "204", p.raw(b"HTTP/1.1 204 No Content\r\n\r\n"), at=JSON_SITES, lead=True)
    table.around(
        "no-content", "205", p.raw(b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n"), at=JSON_SITES
    )
    table.around("no-content", "200-empty", p.answers(Answer()), at=JSON_SITES, lead=True)
    table.around("no-content", "200-json-empty", p.answers(_json(b"")), at=JSON_SITES)
    table.around("html", "200-html", p.answers(_html(200)), at=JSON_SITES, lead=True)
    table.around("html", "201-html", p.answers(_html(201)), at=JSON_SITES)
    table.around("html", "206-html", p.answers(_html(206)), at=JSON_SITES)
    table.around("html", "299-html", p.answers(_html(299)), at=JSON_SITES)
    table.around(
        "html", "200-text", p.answers(Answer(200, b"OK", {"Content-Type": "text/plain"})), at=JSON_SITES
    )
    table.on("html", "answer-as-html", p.altered(lambda a: replace(a, headers={"Content-Type": "text/html"})),
             at=JSON_SITES, blind=True)  # fmt: skip
    table.on("html", "answer-without-type", p.altered(lambda a: replace(a, headers={})), at=JSON_SITES)
    for name, text in {
        "null": "null", "seven": "7", "list": "[]", "text": '"text"', "true": "true", "object": "{}",
        "nested": '{"result": {}}', "error-null": '{"error": null}',
    }.items():  # fmt: skip
        table.around(
            "shape", f"json-{name}", p.answers(_json(text.encode())), at=JSON_SITES, lead=name == "object",
        )  # fmt: skip
    for name, body in {
        "number": {"request_id": 7}, "null": {"request_id": None}, "empty": {"request_id": ""},
        "list": {"request_id": ["a"]}, "long": {"request_id": "x" * 100_000},
        "lines": {"request_id": "a\r\nX-Evil: 1"}, "unknown": {"request_id": "nobody-1"},
    }.items():  # fmt: skip
        table.around(
            "shape", f"request-id-{name}", p.answers(Answer.of(200, body)), at=PROMISE, lead=name == "number"
        )
    table.on("shape", "every-value-7", p.document(_sevens), at=JSON_SITES, lead=True)
    table.on(
        "shape", "every-value-null", p.document(lambda found: _each(found, lambda _: None)), at=JSON_SITES
    )
    table.on(
        "shape", "every-value-list", p.document(lambda found: _each(found, lambda v: [v])), at=JSON_SITES
    )
    table.on(
        "shape", "every-value-text", p.document(lambda found: _each(found, str)), at=JSON_SITES, blind=True
    )
    table.on("shape", "in-a-list", p.document(lambda found: [found]), at=JSON_SITES)
    table.on("shape", "extra-fields", p.document(_with_more), at=JSON_SITES)
    results: dict[str, dict[str, object]] = {
        "category-7": {"error": {"a": 1}, "category": 7}, "error-list": {"error": [1], "category": "server"},
        "metadata": {"status": "complete_metadata", "response_payload_size": 10},
        "metadata-negative": {"status": "complete_metadata", "response_payload_size": -10},
        "metadata-text": {"status": "complete_metadata", "response_payload_size": "ten"},
        "metadata-huge": {"status": "complete_metadata", "response_payload_size": 1 << 70},
    }  # fmt: skip
    for name, result in results.items():
        is_failure = "error" in result
        table.add(
            Fault(
                f"result-{name}",
                "shape",
                (p.answers(Answer.of(200, result)),),
                "before",
                RESULT,
                own=is_failure,
            )
        )
    failed = Answer.of(200, {"error": "it broke", "category": "server"})
    table.add(
        Fault("result-failed", "failed work", (p.answers(failed),), "before", RESULT, own=True, lead=True)
    )
    for state in ("active", "paused_capacity", "paused_rate_limit", 7, None, "x" * 10_000):
        answer: dict[str, object] = {
            "type": "try_again",
            "request_id": "r",
            "queue_state": state,
            "queue_state_reason": state,
        }
        name = str(state)[:20].replace("_", "-")
        play = p.answers(Answer.of(200, answer))
        table.add(
            Fault(f"try-again-{name}", "not yet", (play,), "before", RESULT, patient=True, lead=state == 7)
        )


def _framing(table: _Table) -> None:
    long = p.reframed(lambda a: p.head_of(a, Content_Length=str(len(a.body) + 9)) + a.body)
    table.on("length", "length-too-long", long, lead=True)
    held = p.reframed(lambda a: p.head_of(a, Content_Length=str(len(a.body) + 9)) + a.body, "hold")
    table.on("length", "length-too-long-held", held)
    short = p.reframed(lambda a: p.head_of(a, Content_Length=str(max(0, len(a.body) - 9))) + a.body, "keep")
    table.on("length", "length-too-short", short, lead=True)
    for name, value in {
        "huge": str(10**14), "2-64": str(2**64 - 1), "negative": "-5", "garbage": "many", "empty": " ",
        "plus": "+20", "two": "3, 4", "hex": "0x10", "float": "20.0", "digits": "9" * 5000,
    }.items():  # fmt: skip

        def frame(a: Answer, value: str = value) -> bytes:
            return p.head_of(a, Content_Length=value) + a.body

        table.on("length", f"length-{name}", p.reframed(frame), lead=name == "huge")
        if name in ("huge", "2-64"):
            table.on("length", f"length-{name}-held", p.reframed(frame, "hold"))
    twice = p.reframed(lambda a: a.head()[:-2] + b"Content-Length: 3\r\n\r\n" + a.body)
    table.on("length", "length-twice", twice)
    none = p.reframed(lambda a: p.head_of(a, Content_Length="", Connection="close") + a.body)
    table.on("length", "length-none", none)
    for name, line in {
        "good": lambda b: b"%x" % len(b), "2-64": lambda b: b"f" * 16, "negative": lambda b: b"-5",
        "garbage": lambda b: b"zz", "empty": lambda b: b"", "short": lambda b: b"%x" % max(1, len(b) // 2),
        "long": lambda b: b"%x" % (len(b) + 50), "digits": lambda b: b"f" * 5000,
        "extension": lambda b: b"%x;%s" % (len(b), b"x" * 100_000),
    }.items():  # fmt: skip
        made: Callable[[bytes], bytes] = line
        table.on("chunks", f"chunk-{name}", p.reframed(p.chunked(made)), lead=name == "2-64")
    table.on("chunks", "chunk-without-end", p.reframed(p.chunked(lambda b: b"%x" % len(b), b"")))
    trailer = b"0\r\nX-Trailer: " + b"y" * 100_000 + b"\r\n\r\n"
    table.on("chunks", "chunk-trailer", p.reframed(p.chunked(lambda b: b"%x" % len(b), trailer)))
    both = p.reframed(lambda a: a.head()[:-2] + b"Transfer-Encoding: chunked\r\n\r\n" + a.body)
    table.on("chunks", "chunk-and-length", both)
    table.around(
        "chunks", "chunks-for-ever",
        p.endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", 0.1),
    )  # fmt: skip


def _heads(table: _Table) -> None:
    def with_header(line: bytes) -> Play:
        return p.reframed(lambda a: a.head()[:-2] + line + b"\r\n\r\n" + a.body, "keep")

    table.on("headers", "headers-99", with_header(b"\r\n".join(b"X-%d: y" % n for n in range(90))))
    table.on(
        "headers",
        "headers-10000",
        with_header(b"\r\n".join(b"X-%d: y" % n for n in range(10_000))),
        lead=True,
    )
    table.on("headers", "header-60-kb", with_header(b"X-Long: " + b"y" * 60_000))
    table.on("headers", "header-1-mb", with_header(b"X-Long: " + b"y" * (1 << 20)))
    table.on("headers", "header-without-colon", with_header(b"this is no header"))
    table.on("headers", "header-folded", with_header(b"X-Fold: a\r\n b\r\n\tc"))
    table.on("headers", "header-nul", with_header(b"X-Nul: a\x00b"))
    table.on("headers", "header-bare-cr", with_header(b"X-Cr: a\rX-Evil: b"))
    table.on("headers", "header-latin", with_header("X-Ä: ö€".encode()))
    table.on("headers", "header-empty-name", with_header(b": value"))
    table.on("headers", "header-key-defect", with_header(b"broken " + p.KEY.encode()))
    table.on(
        "headers", "bare-newlines", p.reframed(lambda a: a.head().replace(b"\r\n", b"\n") + a.body, "keep")
    )
    table.on("headers", "leading-newlines", p.reframed(lambda a: b"\r\n\r\n" + a.encode(), "end"))
    table.on(
        "headers",
        "stray-answer",
        p.reframed(lambda a: a.encode() + Answer.of(200, {"request_id": "x"}).encode(), "keep"),
    )
    packed_oddly = p.altered(lambda a: replace(a, headers={**a.headers, "Content-Encoding": "br"}))
    table.on("headers", "odd-encoding-header", packed_oddly, blind=True)
    for name, line in {
        "garbage": b"\x16\x03\x01\x02\x00\x01", "letters": b"HTTP/1.1 abc OK", "five-digits": b"HTTP/1.1 99999 OK",
        "negative": b"HTTP/1.1 -200 OK", "zero": b"HTTP/1.1 000 OK", "version": b"HTTP/9.9 200 OK",
        "icy": b"ICY 200 OK", "lower": b"http/1.1 200 ok", "no-status": b"HTTP/1.1", "http-0-9": b"hello there",
        "long": b"HTTP/1.1 200 " + b"O" * 100_000, "600": b"HTTP/1.1 600 What", "999": b"HTTP/1.1 999 What",
        "digits": b"HTTP/1.1 " + b"9" * 5000 + b" OK",
    }.items():  # fmt: skip
        whole = line + b"\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
        table.around("status line", f"status-line-{name}", p.raw(whole), lead=name == "garbage")


def _json_bombs(table: _Table) -> None:
    for name, text in {
        "deep": b"[" * 100_000, "deep-closed": b"[" * 100_000 + b"]" * 100_000,
        "deep-object": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        "infinity": b'{"request_id": Infinity}', "minus-infinity": b"-Infinity", "nan": b'{"a": NaN}',
        "400-digits": b'{"request_id": ' + b"9" * 400 + b"}", "5000-digits": b'{"request_id": ' + b"9" * 5000 + b"}",
        "float-1e999": b'{"request_id": 1e999}', "bad-utf8": b'{"request_id": "\xff\xfe"}',
        "utf-16": json.dumps({"request_id": "x"}).encode("utf-16"), "bom": b"\xef\xbb\xbf{}",
        "surrogate": b'{"request_id": "\\ud800"}', "nul": b'{"request_id": "\x00"}', "half": b'{"request_id": "abc',
        "two": b"{} {}", "single-quotes": b"{'request_id': 'a'}",
        "many-keys": json.dumps({str(n): n for n in range(50_000)}).encode(),
        "binary": bytes(range(256)),
    }.items():  # fmt: skip
        table.around("bad json", f"json-bomb-{name}", p.answers(_json(text)), at=JSON_SITES,
                     lead=name in ("deep", "infinity"))  # fmt: skip

    def megabytes(count: int) -> Callable[[], Iterator[bytes]]:
        block = b" " * (1 << 20)
        return lambda: (block for _ in range(count))

    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    table.around("too large", "body-300-mb", p.streams(head % (300 << 20), megabytes(300)), at=JSON_SITES)
    unsized = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
    table.around("too large", "body-without-end", p.endless(unsized, b" " * (1 << 18), 0), at=JSON_SITES)
    error = b"HTTP/1.1 503 Busy\r\nConnection: close\r\n\r\n"
    table.around("too large", "error-without-end", p.endless(error, b" " * (1 << 18), 0), at=JSON_SITES)

    for name, number in {
        "infinity": "Infinity",
        "nan": "NaN",
        "400-digits": "9" * 400,
        "1e999": "1e999",
    }.items():

        def alter(a: Answer, number: str = number) -> Answer:
            found = json.loads(a.body) if a.body else {}
            text = json.dumps(_each(found, lambda v: "@number@" if _is_number(v) else v))
            return replace(a, body=text.replace('"@number@"', number).encode())

        play = p.altered(alter, accept="application/json")
        table.on(
            "bad json",
            f"numbers-{name}",
            play,
            at=frozenset({"result", "control"}),
            blind=name != "400-digits",
        )


def _packing(table: _Table) -> None:
    def packed(body: bytes, encoding: str = "gzip") -> Answer:
        return Answer(200, body, {"Content-Type": "application/json", "Content-Encoding": encoding})

    def repacked(pack: Callable[[bytes], bytes], encoding: str = "gzip") -> Play:
        def alter(a: Answer) -> Answer:
            return replace(a, body=pack(a.body), headers={**a.headers, "Content-Encoding": encoding})

        return p.altered(alter)

    table.on("packing", "gzip-good", repacked(p.packed))
    table.on("packing", "gzip-twice", repacked(lambda b: p.packed(p.packed(b)), "gzip, gzip"))
    table.on("packing", "gzip-many-times", repacked(p.packed, ", ".join(["gzip"] * 50)))
    table.on("packing", "gzip-cut", repacked(lambda b: p.packed(b)[:-6]), lead=True)
    table.on("packing", "gzip-damaged", repacked(lambda b: p.packed(b)[:12] + b"\xff\xff" + p.packed(b)[14:]))
    table.on("packing", "gzip-bad-sum", repacked(lambda b: p.packed(b)[:-8] + b"\0" * 8))
    table.on("packing", "gzip-not-packed", repacked(lambda b: b))
    table.on("packing", "gzip-stray-tail", repacked(lambda b: p.packed(b) + b"tail"))
    table.on("packing", "deflate-not-packed", repacked(lambda b: b, "deflate"))
    table.on("packing", "unknown-encoding", repacked(lambda b: b, "x-nobody"), blind=True)
    table.around("packing", "gzip-bomb", p.made(lambda: packed(p.gzip_bomb(300))), at=JSON_SITES, lead=True)

    refusal = p.made(lambda: replace(packed(p.gzip_bomb(300)), status=400))
    table.around("packing", "gzip-bomb-400", refusal, at=JSON_SITES)


def _damaged_results(table: _Table) -> None:
    for seed in range(24):
        table.on(
            "damaged proto",
            f"mutated-{seed}",
            p.altered(p.mutated(seed)),
            at=RESULT,
            blind=True,
            lead=seed < 2,
        )
    for name, message in {
        "empty": b"",
        "num-datums-2-62": p.bytes_field(2, p.number_field(3, 1 << 62)),
        "num-datums-negative": p.bytes_field(2, p.number_field(3, -1)),
        "random": bytes(range(7, 200, 3)),
        "groups": b"\x0b" * 100_000,
        "nested": _nested(3000),
        "length-2-62": varint_length(2, 1 << 62),
        "no-outputs": p.bytes_field(1, b"ArrayRecord"),
        "negative-offsets": _batched(b"\0" * 8, [0, -8, 8]),
        "far-offsets": _batched(b"\0" * 8, [0, 4, 1 << 40]),
        "falling-offsets": _batched(b"\0" * 8, [8, 4, 0]),
        "odd-offsets": _batched(b"\0" * 8, [0, 3, 8]),
        "huge-shape": _batched(b"\0" * 8, [0, 4, 8], shape=[1 << 40, 1 << 40]),
        "zero-shape": _batched(b"\0" * 8, [0, 4, 8], shape=[0]),
        "negative-shape": _batched(b"\0" * 8, [0, 4, 8], shape=[-1]),
        "unknown-dtype": _batched(b"\0" * 8, [0, 4, 8], dtype=77),
    }.items():  # fmt: skip
        play = p.answers(p.proto(message))
        lead = name in ("empty", "num-datums-2-62")
        table.add(Fault(f"proto-{name}", "damaged proto", (play,), "before", RESULT, lead=lead))
    table.on("damaged proto", "proto-cut", p.altered(lambda a: replace(a, body=a.body[: len(a.body) * 2 // 3])),
             at=RESULT, blind=True)  # fmt: skip
    table.on("damaged proto", "proto-twice", p.altered(lambda a: replace(a, body=a.body * 2)), at=RESULT)
    as_json = p.altered(lambda a: replace(a, headers={"Content-Type": "application/json"}))
    table.on("damaged proto", "proto-as-json", as_json, at=RESULT, blind=True)
    as_proto = p.altered(
        lambda a: replace(a, headers={"Content-Type": "application/x-protobuf"}), accept="application/json"
    )
    table.on("damaged proto", "json-as-proto", as_proto, at=RESULT, blind=True)

    for name, change in {
        "one-less": lambda v: v[:-1], "one-more": lambda v: [*v, v[-1]] if v else v, "none": lambda v: [],
    }.items():  # fmt: skip
        for what in ("loss_fn_outputs", "sequences", "prompt_logprobs"):
            play = p.document(_changing(what, change))
            lead = name == "one-less"
            table.on("short result", f"{what.replace('_', '-')}-{name}", play, at=RESULT, lead=lead)
    for what in ("loss_fn_outputs", "sequences", "prompt_logprobs", "path", "metrics"):
        table.on("short result", f"{what.replace('_', '-')}-left-out", p.document(_without(what)), at=RESULT,
                 blind=what == "metrics")  # fmt: skip
    table.on("short result", "short-arrays", p.document(_short_arrays), at=RESULT, lead=True)
    table.on("short result", "text-tokens", p.document(_text_tokens), at=RESULT)


def _swapped(table: _Table) -> None:
    """Answers of other requests. The calls see to it that there are earlier ones.

    The promise of an earlier request of the same kind looks as the right one would, so values are not judged there.
    Whether a training step is lost or doubled still is.
    """
    table.on("swapped", "earlier-answer", p.repeats(""), at=PROMISE, lead=True, blind=True)
    table.add(
        Fault("earlier-answer.after", "swapped", (_after(p.repeats("")),), "after", PROMISE, blind=True)
    )
    for kind in ("forward_backward", "optim_step", "save_weights", "create_model"):
        table.on(
            "swapped",
            f"promise-of-{kind}",
            p.repeats(f"/{kind}"),
            at=PROMISE,
            lead=kind == "forward_backward",
        )
    results: dict[str, dict[str, Any]] = {
        "forward-backward": {"loss_fn_output_type": "ArrayRecord", "loss_fn_outputs": [], "metrics": {"loss:sum": 0.0}},
        "optim-step": {"metrics": {"grad_norm:mean": 1.0}},
        "sample": {"type": "sample", "sequences": []},
        "save": {"type": "save_weights", "path": "tinker://nobody/weights/x"},
        "create": {"type": "create_model", "model_id": "nobody:train:0"},
        "unload": {"type": "unload_model", "model_id": "nobody:train:0"},
        "session": {"type": "create_session", "session_id": "nobody"},
    }  # fmt: skip
    for kind, result in results.items():
        play = p.answers(Answer.of(200, result))
        table.add(Fault(f"result-of-{kind}", "swapped", (play,), "before", RESULT, lead=kind == "optim-step"))
    table.add(
        Fault(
            "gone",
            "gone",
            (p.answers(Answer.of(410, {"detail": "no longer kept"})),),
            "before",
            RESULT,
            lead=True,
        )
    )
    table.add(Fault("gone-html", "gone", (p.answers(_html(410)),), "before", RESULT))


def _keys(table: _Table) -> None:
    echo = f"you sent {p.KEY}"
    for name, answer in {
        "failed-work": Answer.of(200, {"error": echo, "category": "user"}),
        "html": _html(200, f"<p>{echo}</p>"), "json": Answer.of(200, {"answer": echo}),
        "header": Answer.of(200, {}, **{"X-Echo": echo}), "type": Answer(200, b"{}", {"Content-Type": p.KEY}),
        "encoding": Answer(200, b"{}", {"Content-Encoding": p.KEY}),
        "try-again": Answer.of(200, {"type": "try_again", "queue_state": p.KEY, "queue_state_reason": echo}),
        "request-id": Answer.of(200, {"request_id": p.KEY}),
        "length": Answer(200, b"{}", {"Content-Length": p.KEY}),
        "x-request-id": Answer.of(503, {"detail": "x"}, **{"X-Request-Id": p.KEY}),
        "date": Answer.of(503, {"detail": "x"}, **{"Retry-After": p.KEY}),
        "messages": Answer.of(
            200, {"session_id": "s", "warning_message": echo, "error_message": echo, "info_message": echo}
        ),
    }.items():  # fmt: skip
        table.around("key", f"key-in-{name}", p.answers(answer), at=JSON_SITES, lead=name == "failed-work",
                     own=name == "failed-work", patient=name == "try-again")  # fmt: skip
    for name, line in {
        "status-line": f"HTTP/1.1 {p.KEY}", "reason": f"HTTP/1.1 404 {p.KEY}", "version": f"{p.KEY} 200 OK",
        "bad-header": f"HTTP/1.1 503 Busy\r\nbroken {p.KEY}",
        "bad-chunk": f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{p.KEY}",
    }.items():  # fmt: skip
        table.around("key", f"key-in-{name}", p.raw(f"{line}\r\n\r\n".encode()), lead=name == "status-line")


def _lost_then(table: _Table) -> None:
    """The work is done and its answer lost; then every further try meets something else."""
    lost = _after(p.reset_after)
    unfinished = {
        "400-empty": Answer(400), "400-html": _html(400), "400-json": Answer.of(400, {"detail": "malformed"}),
        "401-json": Answer.of(401, {"detail": "who?"}), "402-json": Answer.of(402, {"detail": "pay"}),
        "403-html": _html(403), "404-json": Answer.of(404, {"detail": "unknown"}), "404-html": _html(404),
        "409-json": Answer.of(409, {"detail": "taken"}, **{"X-Should-Retry": "false"}), "409-html": _html(409),
        "410-json": Answer.of(410, {"detail": "gone"}), "413-html": _html(413),
        "415-json": Answer.of(415, {"detail": "type"}),
        "422-json": Answer.of(422, {"detail": "bad field"}), "422-html": _html(422), "429-html": _html(429),
        "500-html": _html(500), "200-html": _html(200), "200-empty": Answer(), "200-object": Answer.of(200, {}),
    }  # fmt: skip
    for name, answer in unfinished.items():
        lead = name in ("400-html", "422-json", "404-json")
        patient = name == "429-html"
        table.on("lost, then", f"lost-then-{name}", lost, p.answers(answer), at=PROMISE | CONTROL | {"void"},
                 lead=lead, patient=patient)  # fmt: skip
    table.on("lost, then", "lost-then-redirect", lost, p.redirects(302), at=PROMISE)
    table.on("lost, then", "lost-then-refused", lost, p.refuse, at=PROMISE)
    table.on("lost, then", "lost-then-silence", lost, p.silence, at=PROMISE)
    table.on("lost, then", "silence-then-400-html", _after(p.silence), p.answers(_html(400)), at=PROMISE)
    table.on(
        "lost, then", "503-then-400-html", _after(p.answers(_html(503))), p.answers(_html(400)), at=PROMISE
    )
    table.on("lost, then", "refused-then-400-html", p.refuse, p.answers(_html(400)), at=PROMISE)
    table.on(
        "lost, then",
        "html-then-400-json",
        _after(p.answers(_html(200))),
        p.answers(Answer.of(400, {"detail": "x"})),
        at=PROMISE,
    )


# ---- changes of JSON documents and hand-made proto ----


def varint_length(field: int, length: int) -> bytes:
    """A field that claims to be ``length`` bytes long."""
    return p.varint(field << 3 | 2) + p.varint(length) + b"xx"


def _nested(depth: int) -> bytes:
    message = b""
    for _ in range(depth):
        message = p.bytes_field(2, message)
    return message


def _batched(data: bytes, offsets: list[int], dtype: int = 1, shape: list[int] | None = None) -> bytes:
    """A forward_backward result of two datums whose ``logprobs`` are laid out so."""
    packed = b"".join(offset.to_bytes(8, "little", signed=True) for offset in offsets)
    tensor = p.bytes_field(1, data) + p.bytes_field(2, packed) + p.number_field(3, dtype)
    for size in shape or ():
        tensor += p.number_field(4, size)
    entry = p.bytes_field(1, b"logprobs") + p.bytes_field(2, tensor)
    record = p.bytes_field(1, b"ArrayRecord") + p.bytes_field(2, entry) + p.number_field(3, 2)
    return p.bytes_field(1, b"ArrayRecord") + p.bytes_field(2, record)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _each(found: Any, change: Callable[[Any], Any]) -> Any:
    """``found`` with every leaf changed."""
    if isinstance(found, dict):
        return {name: _each(value, change) for name, value in found.items()}
    if isinstance(found, list):
        return [_each(value, change) for value in found]
    return change(found)


def _sevens(found: Any) -> Any:
    return dict.fromkeys(found, 7) if isinstance(found, dict) else 7


def _with_more(found: Any) -> Any:
    more = {"a_new_field": {"of": ["a", "later", "version"]}, "": None}
    return {**found, **more} if isinstance(found, dict) else found


def _changing(name: str, change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def changed(found: Any) -> Any:
        if isinstance(found, dict) and isinstance(found.get(name), list):
            return {**found, name: change(found[name])}
        return found

    return changed


def _without(name: str) -> Callable[[Any], Any]:
    def changed(found: Any) -> Any:
        return {n: v for n, v in found.items() if n != name} if isinstance(found, dict) else found

    return changed


def _short_arrays(found: Any) -> Any:
    """Every array of numbers one shorter."""
    if isinstance(found, dict):
        return {name: _short_arrays(value) for name, value in found.items()}
    if isinstance(found, list):
        if found and all(_is_number(value) for value in found):
            return found[:-1]
        return [_short_arrays(value) for value in found]
    return found


def _text_tokens(found: Any) -> Any:
    """Every array of numbers an array of texts."""
    if isinstance(found, dict):
        return {name: _text_tokens(value) for name, value in found.items()}
    if isinstance(found, list):
        if found and all(_is_number(value) for value in found):
            return ["NaN"] * len(found)
        return [_text_tokens(value) for value in found]
    return found


FAULTS: dict[str, Fault] = _make()
