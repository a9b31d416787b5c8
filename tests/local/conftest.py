"""A server, and a plain HTTP client of it that knows the protocol's two steps: submit, then retrieve."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

import tinkex
from tinkex.local import LocalServer


class Api:
    """Talks JSON to one server; `sid` is a session of its own."""

    def __init__(self, server: LocalServer) -> None:
        self.root = server.base_url + "/api/v1/"
        self.http = requests.Session()
        self.http.headers["X-API-Key"] = server.api_key
        self.sid = self.post("create_session", tags=["test"])["session_id"]
        self._numbers = iter(range(1000))

    def send(self, endpoint: str, /, **body: Any) -> requests.Response:
        return self.http.post(self.root + endpoint, json=body, timeout=30)

    def post(self, endpoint: str, /, **body: Any) -> dict[str, Any]:
        return _document(self.send(endpoint, **body))

    def get(self, path: str) -> dict[str, Any]:
        return _document(self.http.get(self.root + path, timeout=30))

    def result(self, submitted: dict[str, Any]) -> dict[str, Any]:
        answer = self.post("retrieve_future", request_id=submitted["request_id"])
        assert "error" not in answer, answer
        return answer

    def run(self, endpoint: str, /, **body: Any) -> dict[str, Any]:
        return self.result(self.post(endpoint, **body))

    def model(self, **lora: Any) -> str:
        body = {"session_id": self.sid, "model_seq_id": next(self._numbers), "base_model": "tinkex/byte-lm"}
        return str(self.run("create_model", **body, lora_config={"rank": 16, "seed": 1, **lora})["model_id"])

    def train(self, model: str, data: list[dict[str, Any]], steps: int, rate: float = 1e-2) -> list[float]:
        losses = []
        for _ in range(steps):
            forward = {"data": data, "loss_fn": "cross_entropy"}
            losses.append(self.run("forward_backward", model_id=model, forward_backward_input=forward))
            self.run("optim_step", model_id=model, adam_params={"learning_rate": rate})
        return [each["metrics"]["loss:sum"] for each in losses]

    def sampler(self, model: str) -> str:
        number = next(self._numbers)
        saved = self.run("save_weights_for_sampler", model_id=model, sampling_session_seq_id=number)
        return str(saved["sampling_session_id"])

    def sample(self, sampler: str, text: str, **more: Any) -> dict[str, Any]:
        params = more.pop("sampling_params", {"max_tokens": 40, "temperature": 0})
        body = {"sampling_session_id": sampler, "prompt": prompt(text), "sampling_params": params, **more}
        return self.run("asample", **body)


def _document(response: requests.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.json()
    return document


def prompt(text: str) -> dict[str, Any]:
    return {"chunks": [{"type": "encoded_text", "tokens": list(text.encode())}]}


def datum(question: str, answer: str) -> dict[str, Any]:
    """Learns `answer` and end-of-text after `question`."""
    head, tail = list(question.encode()), [*answer.encode(), 256]
    tokens = head + tail
    return {
        "model_input": {"chunks": [{"type": "encoded_text", "tokens": tokens[:-1]}]},
        "loss_fn_inputs": {
            "target_tokens": {"data": tokens[1:], "dtype": "int64"},
            "weights": {"data": [0.0] * (len(head) - 1) + [1.0] * len(tail), "dtype": "float32"},
        },
    }


@pytest.fixture(scope="session")
def server() -> Iterator[LocalServer]:
    with LocalServer() as running:
        yield running


@pytest.fixture
def api(server: LocalServer) -> Iterator[Api]:
    client = Api(server)
    yield client
    client.http.close()


@pytest.fixture
def service(server: LocalServer) -> Iterator[tinkex.ServiceClient]:
    with tinkex.ServiceClient(base_url=server.base_url, api_key=server.api_key) as client:
        yield client


@pytest.fixture
def training(service: tinkex.ServiceClient) -> tinkex.TrainingClient:
    return service.create_lora_training_client("tinkex/byte-lm", rank=4)
