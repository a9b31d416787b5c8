"""Whatever a request says, the server answers it: with a result, or with a refusal that has a reason, never a fault."""

from __future__ import annotations

import copy
import http.client
import json
import random
import socket
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tinkex.local import LocalServer
from tinkex.local.routes import ROUTES
from tinkex.wire import messages_pb2 as pb

from .conftest import Api, datum, prompt

JSON, PROTO = "application/json", "application/x-protobuf"


class Prober:
    """Sends odd requests over one connection, and checks how each is answered."""

    def __init__(self, server: LocalServer) -> None:
        self.api = Api(server)
        self.model = self.api.model(rank=2)
        self.path = self._result(self.api.post("save_weights", model_id=self.model, path="kept"))["path"]
        slot = {"model_id": self.model, "sampling_session_seq_id": 0}
        self.sampler = self._result(self.api.post("save_weights_for_sampler", **slot))["sampling_session_id"]
        self.address = server.base_url.removeprefix("http://")
        self._connection = http.client.HTTPConnection(self.address, timeout=30)
        self.accepted: list[str] = []

    def close(self) -> None:
        self._connection.close()
        self.api.http.close()

    def send(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> int:
        self._connection.request(method, f"/api/v1{path}", body, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        where = (method, path, body[:300], headers, answer.status, content[:300])
        assert answer.status < 500, where
        if answer.status >= 400 and method != "HEAD":
            assert json.loads(content).get("detail"), where
        if answer.status == 200 and content.startswith(b'{"request_id"'):
            self.accepted.append(json.loads(content)["request_id"])
        return answer.status

    def post(self, path: str, body: bytes, content_type: str = JSON, **headers: str) -> int:
        return self.send("POST", path, body, {"Content-Type": content_type, **headers})

    def check_work(self) -> None:
        """What was accepted is done or fails for a reason the sender can mend."""
        for request_id in self.accepted:
            answer = self._result({"request_id": request_id})
            assert answer.get("category") in (None, "user"), answer

    def _result(self, promise: dict[str, Any]) -> dict[str, Any]:
        """The outcome of a request, however often it must be asked for."""
        while (
            answer := self.api.send("retrieve_future", request_id=promise["request_id"])
        ).status_code == 408:
            pass
        outcome: dict[str, Any] = answer.json()
        return outcome


@pytest.fixture(scope="module")
def impatient() -> Iterator[LocalServer]:
    """A server whose long polls are short, so that a poll without a timeout costs no time."""
    with LocalServer(poll_timeout=0.05) as running:
        yield running


@pytest.fixture
def prober(impatient: LocalServer) -> Iterator[Prober]:
    probing = Prober(impatient)
    yield probing
    probing.check_work()
    probing.close()


def rich_datum() -> dict[str, Any]:
    """A datum with everything that a loss may take."""
    rich = datum("abc", "def")
    for name in ("logprobs", "advantages"):
        rich["loss_fn_inputs"][name] = {"data": [-1.0] * 6, "dtype": "float32", "shape": [6]}
    return rich


def good_bodies(prober: Prober) -> dict[str, dict[str, Any]]:
    """For each endpoint that reads JSON, a body with all its fields."""
    model, session = {"model_id": prober.model}, {"session_id": prober.api.sid}
    lora = {"rank": 2, "seed": 1, "train_mlp": True, "train_attn": True, "train_unembed": True}
    params = {"max_tokens": 2, "seed": 1, "stop": ["a", 3], "temperature": 0.5, "top_k": 5, "top_p": 0.9}
    target = {"type": "sampling_session", "sampling_session_id": prober.sampler, "cloned_sampler_id": 0}
    adam = {
        "learning_rate": 1e-3,
        "beta1": 0.9,
        "beta2": 0.9,
        "eps": 1e-8,
        "weight_decay": 0.1,
        "grad_clip_norm": 1,
    }
    sparse = {
        "data": [1, 2],
        "dtype": "int64",
        "shape": [2, 5],
        "sparse_crow_indices": [0, 1, 2],
        "sparse_col_indices": [0, 4],
    }
    loss = {"loss_fn": "ppo", "loss_fn_config": {"clip_low_threshold": 0.5}}
    saving = {**model, "path": "n", "ttl_seconds": 4000, "user_metadata": {"k": "v"}}
    return {
        "/create_session": {
            "tags": ["x"],
            "user_metadata": {"a": 1},
            "project_id": "p",
            "display_name": "d",
        },
        "/session_heartbeat": session,
        "/sessions/none/finish": {"reason": {"type": "success"}, "detail": "x"},
        "/retrieve_future": {"request_id": "none"},
        "/retrieve_futures": {"target": target, "prev_cursor": 0, "timeout": 0.01},
        "/cancel_future": {"request_id": "none"},
        "/create_model": {
            **session,
            "model_seq_id": 800,
            "base_model": "tinkex/byte-lm",
            "lora_config": lora,
            "user_metadata": {"k": "v"},
            "optimizer_config": {"type": "adamw"},
        },
        "/unload_model": {"model_id": "none"},
        "/get_info": model,
        "/forward_backward": {**model, "forward_backward_input": {"data": [rich_datum()], **loss}},
        "/forward": {**model, "forward_input": {"data": [rich_datum()], **loss}},
        "/optim_step": {**model, "adam_params": adam},
        "/save_weights": {**saving, "overwrite": True},
        "/save_weights_for_sampler": {**saving, "kind": "snapshot"},
        "/save_weights_external": {**saving, "age_encryption_recipients": []},
        "/load_weights": {**model, "path": prober.path, "optimizer": True},
        "/create_sampling_session": {
            **session,
            "sampling_session_seq_id": 800,
            "base_model": "tinkex/byte-lm",
            "model_path": prober.path,
        },
        "/join_sampling_session": {"sampling_session_id": prober.sampler},
        "/asample": {
            "sampling_session_id": prober.sampler,
            "num_samples": 2,
            "prompt": prompt("abc"),
            "sampling_params": params,
            "prompt_logprobs": True,
            "topk_prompt_logprobs": 2,
            "topk_sample_logprobs": 2,
            "prompt_alt_tokens_k": 2,
            "prompt_logprobs_last_n": 1,
            "target_prompt_logprobs": sparse,
        },
        "/telemetry": {"events": []},
        "/weights_info": {"tinker_path": prober.path},
        "/copy_weights": {
            "source_path": prober.path,
            "destination_project_id": "p",
            "ttl_seconds": 4000,
        },
        "/sessions/search": {
            "session_id": "none",
            "display_name": "d",
            "user_metadata": {"a": 1},
            "project_ids": ["p"],
            "statuses": [{"type": "active"}],
            "cursor": {"last_created_at": "a", "last_session_id": "b"},
            "limit": 5,
        },
    }


ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    0.5,
    1e308,
    float("nan"),
    float("-inf"),
    2**63,
    10**400,
    "",
    "\ud800",
    "²",
    "tinker://a/weights/b",
    [],
    [None],
    [1, "a"],
    [[1], [2, 3]],
    [float("nan")],
    [10**400],
    [0, 2**62],
    [1] * 70,
    {},
    {"": None},
    json.loads("[" * 400 + "]" * 400),
]


def places(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every part of a document."""
    yield before
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in parts:
        if not isinstance(name, int) or name == 0:  # one of a list's items stands for all
            yield from places(part, (*before, name))


def replaced(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    """A copy of a document with another value at one place."""
    if not place:
        return new
    changed = copy.copy(value)
    changed[place[0]] = replaced(value[place[0]], place[1:], new)
    return changed


def test_odd_values_in_every_field(prober: Prober) -> None:
    sent = 0
    for path, good in good_bodies(prober).items():
        for place in places(good):
            for odd in ODD:
                prober.post(path, json.dumps(replaced(good, place, odd)).encode())
                sent += 1
    assert sent > 3000


def test_good_bodies_are_taken(prober: Prober) -> None:
    missing = {"/sessions/none/finish", "/retrieve_future", "/cancel_future", "/unload_model"}
    for path, good in good_bodies(prober).items():
        assert (path, prober.post(path, json.dumps(good).encode())) == (path, 404 if path in missing else 200)


@pytest.mark.parametrize(
    ("body", "statuses"),
    [
        (b"", {400}),
        (b"{", {400}),
        (b"null", {422}),
        (b"[1]", {422}),
        (b"7", {422}),
        (b"NaN", {422}),
        (b"9" * 5000, {400, 422}),
        (b"\xff\xfe", {400}),
        (b'{"model_id": "\xc3"}', {400}),
        (b"[" * 100_000, {400}),
        (b"[" * 100_000 + b"]" * 100_000, {400}),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, {400}),
    ],
    ids=lambda value: repr(value[:12]) if isinstance(value, bytes) else None,
)
def test_bodies_that_are_no_json_object(prober: Prober, body: bytes, statuses: set[int]) -> None:
    for path in good_bodies(prober):
        if path != "/telemetry":  # its body is not read
            assert prober.post(path, body) in statuses


def test_metadata_is_kept_only_if_it_can_be_sent_back(prober: Prober) -> None:
    for depth, status in ((20, 200), (40, 422), (900, 422)):
        body = b'{"user_metadata": ' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"
        assert prober.post("/create_session", body) == status


def test_content_types_and_encodings(prober: Prober) -> None:
    for path, good in good_bodies(prober).items():
        if path == "/telemetry":
            continue
        body = json.dumps(good).encode()
        for content_type in ("", "text/plain", "application/x-www-form-urlencoded", "\xe9", ";"):
            assert prober.post(path, body, content_type) == 415
        for encoding in ("gzip", "zstd", "identity, gzip", "\xe9"):
            assert prober.post(path, body, **{"Content-Encoding": encoding}) == 415
    assert prober.post("/optim_step", b"x", PROTO) == 415
    assert prober.post("/forward_backward", b"x", PROTO, **{"Content-Encoding": "gzip"}) == 415


def test_methods_and_paths(prober: Prober) -> None:
    odd = {"run": "%ff", "kind": "x", "name": "..", "session_id": "%00", "sampler_id": "a%2fb", "token": "²"}
    for route in ROUTES:
        for text in odd.values():
            path = route.path
            for name in odd:
                path = path.replace(f"{{{name}}}", text.replace("²", "%c2%b2"))
            for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "ODD"):
                prober.send(method, path, b"{}", {"Content-Type": JSON})
    for query in ("limit=-1", "limit=x", "limit=%FF", "offset=99999999999", "limit=²".encode().hex(), "&=;"):
        for path in ("/training_runs", "/checkpoints", "/sessions"):
            assert prober.send("GET", f"{path}?{query}", b"", {}) in (200, 422)


def test_damaged_proto(prober: Prober) -> None:
    luck = random.Random(5)
    for _ in range(1500):
        body = bytearray(_message(prober.model, luck))
        for _ in range(luck.choice([0, 1, 1, 2, 5])):
            at = luck.randrange(len(body))
            how = luck.randrange(3)
            if how == 0:
                body[at] = luck.randrange(256)
            elif how == 1 and len(body) > 60:
                del body[at : at + luck.choice([1, 50])]
            else:
                body[at:at] = luck.randbytes(2)
        prober.post("/forward_backward", bytes(body), PROTO)
    assert prober.accepted


def _message(model: str, luck: random.Random) -> bytes:
    """A training request, of which perhaps one part is odd."""
    message = pb.ForwardBackwardRequest(model_id=model, loss_fn="ppo", forward_only=True)
    message.seq_id = luck.choice([0] * 30 + [-1])
    message.loss_fn_config["clip_low_threshold"] = luck.choice([0.5] * 30 + [float("nan"), float("inf")])
    item = message.data.add()
    item.model_input.add().encoded_text.tokens = np.array([1, 2, 3], "<i4").tobytes()
    for name, dtype, kind in (
        ("target_tokens", "<i8", pb.DTYPE_INT64),
        ("weights", "<f4", pb.DTYPE_FLOAT32),
        ("logprobs", "<f4", pb.DTYPE_FLOAT32),
        ("advantages", "<f4", pb.DTYPE_FLOAT32),
    ):
        odd_shapes = [[], [1, 3], [3, 1], [-1], [0], [2**62, 0], [0, 2**62], [3, 1, 1], [1] * 70 + [3]]
        tensor = item.loss_fn_inputs[name]
        tensor.dtype = luck.choice([kind] * 30 + [pb.DTYPE_UNSPECIFIED, pb.DTYPE_BFLOAT16])
        tensor.shape.extend(luck.choice([[3]] * 60 + odd_shapes))
        tensor.dense = np.array([1, 2, 3], dtype).tobytes()
        if luck.random() < 0.05:
            tensor.sparse_csr.values = np.array([1, 2], dtype).tobytes()
            rows = luck.choice([[0, 1, 1, 2], [], [0, 2**62, 2, 2], [-1, 0, 1, 2]])
            tensor.sparse_csr.crow_indices = np.array(rows, "<i8").tobytes()
            columns = luck.choice([[0, 1], [0, -1], [2**62, 0], []])
            tensor.sparse_csr.col_indices = np.array(columns, "<i8").tobytes()
            del tensor.shape[:]
            tensor.shape.extend(luck.choice([[3, 2], [3], [3, 2**62], [-1, 2], [0, 0]]))
    return message.SerializeToString()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"Content-Length: -1", 400),
        (b"Content-Length: abc", 400),
        (b"Content-Length: +2", 400),
        (b"Content-Length: 99999999999999", 413),
        (b"Content-Length: 2\r\nContent-Length: 3", 400),
        (b"", 400),
        (b"Transfer-Encoding: chunked\r\n\r\nzz", 400),
        (b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", 200),
        (b"X: " + b"a" * 300_000, 431),
    ],
    ids=lambda value: repr(value[:30]) if isinstance(value, bytes) else None,
)
def test_lengths_that_are_wrong(prober: Prober, headers: bytes, status: int) -> None:
    host, _, port = prober.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=9) as raw:
        head = (
            b"POST /api/v1/create_session HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        )
        raw.sendall(head + headers + b"\r\n\r\n{}")
        assert int(raw.recv(100).split()[1]) == status
