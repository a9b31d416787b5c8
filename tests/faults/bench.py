"""What all cells of one process share: the embedded server, the proxy before it, and what is right."""

from __future__ import annotations

import dataclasses
import http.client
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import tinkex
from tinkex import types
from tinkex.local import LocalServer

from .proxy import PREFIX, FaultProxy, OtherHost

BASE_MODEL = "tinkex/byte-lm"
SEED = 5
RANK = 2
CHUNK = 2
"""Datums a request, where a call shall travel as several."""
ORDER_SECONDS = 5.0
"""How long the server may take for a model's queue; a queue that takes longer has a gap."""
START = "new"

_TEXTS = {
    "A": ["the quick brown", "fox jumps"],
    "B": ["over the lazy", "dog and"],
    "C": ["then it sleeps", "for hours"],
    "D": ["until tomorrow", "morning"],
    "M1": ["first of many", "and second"],
    "M2": ["third comes", "before fourth"],
    "M3": ["fifth is last"],
    "probe": ["what was learned"],
}
MANY = ("M1", "M2", "M3")
"""The requests that the call ``M`` travels as."""


def config(base_url: str, key: str, **settings: Any) -> tinkex.Config:
    """A config that is quick to try again and quick to give up; settings that are not there yet are left out."""
    quick: dict[str, Any] = {
        "api_key": key,
        "telemetry": False,
        "max_tries": 3,
        "retry_delay": 0.01,
        "retry_delay_max": 0.05,
        "connect_timeout": 1.0,
        "read_timeout": 1.0,
        "poll_timeout": 1.0,
        "outage_timeout": 2.0,
        "poll_outage_timeout": 3.0,
        "max_wait": 1.0,
        "max_result_bytes": 16 << 20,
        "max_message_bytes": 4 << 20,
        **settings,
    }
    known = {one.name for one in dataclasses.fields(tinkex.Config)}
    return tinkex.Config(base_url=base_url, **{name: value for name, value in quick.items() if name in known})


def data(label: str) -> list[types.Datum]:
    """The batch of that label; ``M`` is all that its parts are."""
    texts = [text for part in MANY for text in _TEXTS[part]] if label == "M" else _TEXTS[label]
    return [
        types.Datum(
            types.ModelInput.from_ints(list(text.encode()[:-1])),
            {"target_tokens": list(text.encode()[1:]), "weights": [1.0] * (len(text) - 1)},
        )
        for text in texts
    ]


def own_loss(batch: Any, logprobs: Any) -> Any:
    """The loss of ``forward_backward_custom``: the sum of the squares, and its gradients by hand."""
    loss = sum(float((one * one).sum()) for one in logprobs)
    return loss, {"squares": loss}, [2 * one for one in logprobs]


def adam(rate: float = 0.01) -> types.AdamParams:
    return types.AdamParams(learning_rate=rate)


def canonical(value: object) -> object:
    """What has to be equal in two results of the same call."""
    if isinstance(value, types.ForwardBackwardOutput):
        return [
            {name: list(tensor.data) for name, tensor in output.items()} for output in value.loss_fn_outputs
        ]
    if isinstance(value, types.OptimStepResponse):
        return dict(value.metrics or {})
    return None


class Known(NamedTuple):
    """A run without faults: the state of the model after it, and the result of each part."""

    state: object
    results: list[object]


class Blocked(Exception):
    """The server's queue of a model does not move."""


class Bench:
    """A context manager. Not safe for threads: one cell at a time."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="tinkex-faults-")
        self.server = LocalServer(poll_timeout=ORDER_SECONDS, session_timeout=1e6).start()
        port = int(self.server.base_url.rpartition(":")[2])
        self.proxy = FaultProxy("127.0.0.1", port)
        self.other = OtherHost()
        self.proxy.other_url = self.other.url
        self._port = port
        self._known: dict[tuple[str, tuple[str, ...]], Known] = {}
        self.right: dict[str, Any] = {}
        """What calls give without a fault, by name."""
        session = self.ask("POST", "/create_session", {"tags": []})[1]["session_id"]
        lora = {"rank": RANK, "seed": SEED}
        made = {"session_id": session, "model_seq_id": 0, "base_model": BASE_MODEL, "lora_config": lora}
        self.run: str = self.ask_for("/create_model", made)["model_id"]
        """A model of the server's own that has trained for a step; its id is that of its run."""
        batch = {"data": [_as_json(text) for text in _TEXTS["A"]], "loss_fn": "cross_entropy"}
        self.ask_for("/forward_backward", {"model_id": self.run, "forward_backward_input": batch})
        self.ask_for("/optim_step", {"model_id": self.run, "adam_params": {"learning_rate": 0.01}})
        self.state_path = self.save("shared")
        sampled = {"model_id": self.run, "path": "shared"}
        self.sampler_path: str = self.ask_for("/save_weights_for_sampler", sampled)["path"]

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.proxy.__exit__()
        self.other.close()
        self.server.stop()
        self.folder.cleanup()

    @property
    def place(self) -> Path:
        return Path(self.folder.name)

    @contextmanager
    def direct(self) -> Iterator[tinkex.ServiceClient]:
        """A client of the server itself, which leaves nothing behind."""
        patient = {"read_timeout": 60.0, "poll_timeout": 60.0, "outage_timeout": 60.0, "max_tries": 10}
        settings = config(self.server.base_url, "tml-direct", **patient)
        with tinkex.ServiceClient(config=settings, heartbeat_interval=10.0) as service:
            yield service

    def save(self, name: str) -> str:
        """The path of a new checkpoint of the server's own model."""
        path: str = self.ask_for("/save_weights", {"model_id": self.run, "path": name})["path"]
        return path

    def new_model(self, service: tinkex.ServiceClient) -> tinkex.TrainingClient:
        return service.create_lora_training_client_async(BASE_MODEL, RANK, seed=SEED).result(60)

    def run_without_faults(self, start: str, parts: tuple[str, ...]) -> Known:
        """What comes out if ``parts`` are done one after the other to a model made as ``start`` says."""
        found = self._known.get((start, parts))
        if found is None:
            with self.direct() as service:
                client = self.start(service, start)
                results, saved = [], self.state_path
                for label in parts:
                    value = submit(client, label, saved).result(60)
                    saved = getattr(value, "path", None) or saved
                    results.append(canonical(value))
                found = self._known[start, parts] = Known(self.state(client.model_id), results)
        return found

    def start(self, service: tinkex.ServiceClient, start: str) -> tinkex.TrainingClient:
        if start == START:
            return self.new_model(service)
        make = (
            service.create_training_client_from_state_async
            if start == "weights"
            else service.create_training_client_from_state_with_optimizer_async
        )
        return make(self.state_path).result(60)

    def state(self, model_id: str) -> object:
        """All that the server has done to a model, as numbers that differ if it did anything else.

        Asks the server itself, behind everything that it has accepted: one more step uses up the gradients.
        Raises ``Blocked`` if the queue does not move.
        """
        self.ask_for("/optim_step", {"model_id": model_id, "adam_params": {"learning_rate": 0.05}})
        batch = [_as_json(text) for text in _TEXTS["probe"]]
        body = {"model_id": model_id, "forward_input": {"data": batch, "loss_fn": "cross_entropy"}}
        return self.ask_for("/forward", body)["loss_fn_outputs"]

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Ask the server itself: status and JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            sent = None if body is None else json.dumps(body)
            headers = {"Content-Type": "application/json", "X-API-Key": "tml-judge"}
            connection.request(method, PREFIX + path, sent, headers)
            response = connection.getresponse()
            content = response.read()
            return response.status, json.loads(content) if content else None
        finally:
            connection.close()

    def ask_for(self, path: str, body: object) -> Any:
        """The result of work that the server itself is asked for."""
        status, promise = self.ask("POST", path, body)
        if status != 200:
            raise Blocked(f"{path}: {status} {promise}")
        end = time.monotonic() + ORDER_SECONDS
        while time.monotonic() < end:
            status, result = self.ask("POST", "/retrieve_future", {"request_id": promise["request_id"]})
            if status == 200:
                if "error" in result:
                    raise Blocked(f"{path}: {result}")
                return result
        raise Blocked(f"{path}: the queue of the model does not move")

    def model_is_there(self, model_id: str) -> bool:
        return self.ask("POST", "/get_info", {"model_id": model_id})[0] == 200

    def checkpoint(self, run: str, checkpoint_id: str) -> dict[str, Any] | None:
        """What the server knows of a checkpoint; None if there is none."""
        status, answer = self.ask("GET", f"/training_runs/{run}/checkpoints")
        found = answer.get("checkpoints", []) if status == 200 else []
        return next((one for one in found if one["checkpoint_id"] == checkpoint_id), None)


def submit(client: tinkex.TrainingClient, label: str, saved: str = "") -> tinkex.APIFuture[Any]:
    """Begin the part of a run that ``label`` stands for.

    ``O`` is an optimizer step, ``F`` a forward pass, ``X`` a loss of one's own, ``S`` saves the state, ``L``
    loads ``saved``, ``Q`` with its optimizer; all else is a batch for ``forward_backward``.
    """
    make: dict[str, Any] = {
        "O": lambda: client.optim_step(adam()),
        "F": lambda: client.forward(data("B"), "cross_entropy"),
        "X": lambda: client.forward_backward_custom(data("B"), own_loss),
        "S": lambda: client.save_state("part", overwrite=True),
        "L": lambda: client.load_state(saved),
        "Q": lambda: client.load_state_with_optimizer(saved),
    }
    found: tinkex.APIFuture[Any] = make.get(
        label, partial(client.forward_backward, data(label) if label not in make else [], "cross_entropy")
    )()
    return found


def _as_json(text: str) -> dict[str, Any]:
    tokens = list(text.encode())
    return {
        "model_input": {"chunks": [{"type": "encoded_text", "tokens": tokens[:-1]}]},
        "loss_fn_inputs": {
            "target_tokens": {"data": tokens[1:], "dtype": "int64"},
            "weights": {"data": [1.0] * (len(tokens) - 1), "dtype": "float32"},
        },
    }
