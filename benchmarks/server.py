"""A canned Tinker server. It has every answer ready, so that the client is what is measured.

Usage::

    python -m benchmarks.server [--sample-latency SECONDS]

The server binds a free port of 127.0.0.1 and prints its base URL. It ends when its standard input closes, and
so with the process that started it. It is one thread, and uses the standard library alone. Like the hosted
service it answers samples and forward-backward passes in proto and everything else in JSON, and holds a long
poll until the result is ready. ``GET /stats`` returns the numbers of connections and requests so far.

A few functions below read and write proto. They replace generated code, so that the server runs in any
interpreter and depends on neither SDK. The field numbers are those of ``messages.proto``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import socket
import struct
import sys
from collections import Counter
from collections.abc import Iterator

PREFIX = "/api/v1/"
SAMPLED_TOKENS = 256
NUM_SAMPLES = re.compile(rb'"num_samples":\s*(\d+)')
BASE_MODEL = "Qwen/Qwen3-8B"

JSON = b"application/json"
PROTO = b"application/x-protobuf"


# ---- just enough of protocol buffers ----


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def number_field(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def double_field(number: int, value: float) -> bytes:
    return varint(number << 3 | 1) + struct.pack("<d", value)


def bytes_field(number: int, payload: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def read_varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def bytes_fields(message: memoryview, wanted: int) -> Iterator[memoryview]:
    """Yield the payload of every length-delimited field with the number ``wanted``, without copying it."""
    at = 0
    while at < len(message):
        tag, at = read_varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            _, at = read_varint(message, at)
        elif kind == 2:
            size, at = read_varint(message, at)
            if number == wanted:
                yield message[at : at + size]
            at += size
        else:
            at += {1: 8, 5: 4}[kind]


# ---- the answers ----


def floats(count: int) -> bytes:
    source = random.Random(count)
    return struct.pack(f"<{count}f", *(-source.random() for _ in range(count)))


def sample_result() -> bytes:
    source = random.Random(0)
    tokens = struct.pack(f"<{SAMPLED_TOKENS}i", *(source.randrange(150_000) for _ in range(SAMPLED_TOKENS)))
    logprobs = floats(SAMPLED_TOKENS)
    return bytes_field(1, number_field(1, 1) + bytes_field(2, tokens) + bytes_field(3, logprobs))


def shape_of_batch(body: bytes) -> tuple[int, ...]:
    """Return the number of tokens of each datum in a ForwardBackwardRequest."""
    lengths = []
    for datum in bytes_fields(memoryview(body), 3):
        texts = (text for chunk in bytes_fields(datum, 1) for text in bytes_fields(chunk, 1))
        lengths.append(sum(len(tokens) // 4 for text in texts for tokens in bytes_fields(text, 1)))
    return tuple(lengths)


def forward_backward_result(shape: tuple[int, ...]) -> bytes:
    """Return a result with one logprob for each token of each datum, and three metrics."""
    offsets = [0]
    for length in shape:
        offsets.append(offsets[-1] + 4 * length)
    logprobs = (
        bytes_field(1, floats(sum(shape)))
        + bytes_field(2, struct.pack(f"<{len(offsets)}q", *offsets))
        + number_field(3, 1)
    )
    record = (
        bytes_field(1, b"cross_entropy")
        + bytes_field(2, bytes_field(1, b"logprobs") + bytes_field(2, logprobs))
        + number_field(3, len(shape))
    )
    metrics = {"loss:sum": 1234.5, "loss:mean": 19.3, "unmasked_tokens:sum": float(sum(shape))}
    return (
        bytes_field(1, b"cross_entropy")
        + bytes_field(2, record)
        + b"".join(
            bytes_field(3, bytes_field(1, name.encode()) + double_field(2, value))
            for name, value in metrics.items()
        )
    )


class Canned:
    """The answers by path. A request for work is answered with a request id, by which its result is polled."""

    def __init__(self, sample_latency: float) -> None:
        self.sample_latency = sample_latency
        self.connections = 0
        self.requests: Counter[str] = Counter()
        self._promises: dict[str, tuple[float, bytes, bytes]] = {}
        self._sample = sample_result()
        self._batches: dict[tuple[int, ...], bytes] = {}
        self._serial = 0

    def stats(self) -> dict[str, object]:
        return {"connections": self.connections, "requests": dict(self.requests)}

    def promise(self, kind: bytes, result: bytes, delay: float = 0.0) -> str:
        self._serial += 1
        request_id = f"request-{self._serial}"
        self._promises[request_id] = (asyncio.get_running_loop().time() + delay, kind, result)
        return request_id

    def answer(self, path: str, body: bytes, kind: bytes) -> tuple[float, int, bytes, bytes]:
        """Return ``(time, status, content type, body)``; the answer is sent at that time of the loop."""
        if path == "/stats":
            return 0.0, 200, JSON, json.dumps(self.stats()).encode()
        call = path.removeprefix(PREFIX)
        name, _, rest = call.partition("/")
        if name not in ("sessions", "samplers"):  # in these paths the second part is an id
            name = call
        self.requests[name] += 1

        if call == "retrieve_future":
            request_id = json.loads(body)["request_id"]
            ready, result_kind, result = self._promises[request_id]
            return ready, 200, result_kind, result
        if call == "asample":
            promised = self.promise(PROTO, self._sample, self.sample_latency)
            count = NUM_SAMPLES.search(body)  # parsing the whole body, mostly the prompt, would be slow
            ids = [f"{promised}-{index}" for index in range(int(count[1]) if count else 1)]
            return self.ok({"request_id": promised, "sample_sequence_ids": ids})
        if call == "forward_backward":
            if PROTO not in kind:
                return 0.0, 415, JSON, b'{"detail": "the body must be application/x-protobuf"}'
            shape = shape_of_batch(body)
            if shape not in self._batches:
                self._batches[shape] = forward_backward_result(shape)
            return self.ok({"request_id": self.promise(PROTO, self._batches[shape])})
        if call == "optim_step":
            return self.ok({"request_id": self.promise(JSON, b'{"metrics": {"grad_norm:mean": 0.5}}')})
        if call == "create_session":
            return self.ok({"session_id": self.unique("session")})
        if call == "session_heartbeat":
            return self.ok({"type": "session_heartbeat"})
        if call == "create_sampling_session":
            return self.ok({"sampling_session_id": self.unique("sampler")})
        if name == "samplers":
            return self.ok({"sampler_id": rest, "base_model": BASE_MODEL})
        if call == "create_model":
            model = json.dumps({"model_id": self.unique("model")}).encode()
            return self.ok({"request_id": self.promise(JSON, model)})
        if call == "get_info":
            data = {"model_name": BASE_MODEL, "arch": "qwen3", "tokenizer_id": BASE_MODEL}
            return self.ok({"model_id": json.loads(body)["model_id"], "model_data": data, "is_lora": True})
        if call in ("client/config", "client/dynamic_config", "telemetry") or name == "sessions":
            return self.ok({"status": "accepted"} if call == "telemetry" else {})
        return 0.0, 404, JSON, json.dumps({"detail": f"not one of the canned calls: {path}"}).encode()

    def unique(self, name: str) -> str:
        self._serial += 1
        return f"{name}-{self._serial}"

    @staticmethod
    def ok(document: dict[str, object]) -> tuple[float, int, bytes, bytes]:
        return 0.0, 200, JSON, json.dumps(document).encode()


# ---- HTTP/1.1 with keep-alive ----

REASONS = {200: b"OK", 404: b"Not Found", 415: b"Unsupported Media Type"}


def header(headers: bytes, name: bytes) -> bytes:
    """Return the value of a header. ``headers`` is the unparsed head of the request in lower case."""
    _, _, rest = headers.partition(b"\r\n" + name + b":")
    return rest.partition(b"\r\n")[0].strip()


class Connection(asyncio.Protocol):
    def __init__(self, canned: Canned) -> None:
        self._canned = canned
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._needed = 0  # no request is complete before this many bytes have arrived

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._transport = transport
        self._canned.connections += 1

    def data_received(self, data: bytes) -> None:
        self._received += data
        while len(self._received) >= self._needed and self._one_request():
            pass

    def _one_request(self) -> bool:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self._received[:end])
        headers = head.lower()
        start = end + 4
        if b"chunked" in header(headers, b"transfer-encoding"):
            chunked = self._chunked_body(start)
            if chunked is None:
                return False
            body, stop = chunked
        else:
            stop = start + int(header(headers, b"content-length") or 0)
            if len(self._received) < stop:
                self._needed = stop
                return False
            body = bytes(self._received[start:stop])
        del self._received[:stop]
        self._needed = 0
        path = head.split(b" ", 2)[1].partition(b"?")[0].decode()
        ready, status, kind, payload = self._canned.answer(path, body, header(headers, b"content-type"))
        answer = b"HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (
            status, REASONS[status], kind, len(payload),
        ) + payload  # fmt: skip
        if ready > self._loop.time():
            self._loop.call_at(ready, self._transport.write, answer)
        else:
            self._transport.write(answer)
        return True

    def _chunked_body(self, at: int) -> tuple[bytes, int] | None:
        """Return a chunked body and where it ends, or None while a part of it is missing."""
        body = bytearray()
        while True:
            line_end = self._received.find(b"\r\n", at)
            if line_end < 0:
                return None
            size = int(self._received[at:line_end].partition(b";")[0], 16)
            at = line_end + 2 + size + 2
            if len(self._received) < at:
                return None
            if size == 0:
                return bytes(body), at
            body += self._received[line_end + 2 : at - 2]


async def serve(sample_latency: float) -> None:
    loop = asyncio.get_running_loop()
    canned = Canned(sample_latency)
    server = await loop.create_server(lambda: Connection(canned), "127.0.0.1", 0, backlog=4096)
    host, port = server.sockets[0].getsockname()
    print(f"http://{host}:{port}", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.server")
    parser.add_argument("--sample-latency", type=float, default=0.0, help="seconds until a sample is ready")
    asyncio.run(serve(parser.parse_args().sample_latency))
