"""A strict server: what it refuses, what it warns of, and how its clients show the warnings."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import programs
import pytest
from clients import wait_until

import tinkex
from tinkex import types
from tinkex.local import LocalServer

from .conftest import Api


@pytest.fixture(scope="module")
def strict() -> Iterator[LocalServer]:
    with LocalServer(strict=True) as server:
        yield server


@pytest.fixture
def service(strict: LocalServer) -> Iterator[tinkex.ServiceClient]:
    with tinkex.ServiceClient(base_url=strict.base_url, api_key=strict.api_key) as made:
        yield made


@pytest.fixture
def training(service: tinkex.ServiceClient) -> tinkex.TrainingClient:
    return service.create_lora_training_client("tinkex/byte-lm", rank=2)


@contextmanager
def no_warning() -> Iterator[None]:
    """Fails if a server warns. A warning that is turned into an error would only reach ``threading.excepthook``."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    assert [str(each.message) for each in caught if each.category is tinkex.ServerWarning] == []


def datum(tokens: list[int], targets: list[int], weights: list[float] | None = None) -> types.Datum:
    inputs = {"target_tokens": targets, **({} if weights is None else {"weights": weights})}
    return types.Datum(types.ModelInput.from_ints(tokens), inputs)


GOOD = datum([1, 2, 3], [2, 3, 4])


def test_weights_that_are_all_zero(training: tinkex.TrainingClient) -> None:
    nothing = datum([1, 2], [2, 3], [0.0, 0.0])
    with pytest.raises(tinkex.BadRequestError, match=r"data\[1\].weights: all of them are zero"):
        training.forward_backward([GOOD, nothing], "cross_entropy").result(60)
    training.forward([nothing], "cross_entropy").result(60)  # a forward pass may score it


def test_a_step_without_gradients(training: tinkex.TrainingClient) -> None:
    def step() -> None:
        training.optim_step().result(60)

    with pytest.raises(tinkex.RequestFailedError, match="no gradients"):
        step()
    training.forward([GOOD], "cross_entropy").result(60)
    with pytest.raises(tinkex.RequestFailedError, match="no gradients"):
        step()
    training.forward_backward([GOOD], "cross_entropy").result(60)
    step()
    with pytest.raises(tinkex.RequestFailedError, match="no gradients"):
        step()
    training.forward_backward([GOOD], "cross_entropy").result(60)
    step()  # a refused step leaves the client as it was
    training.save_state("s").result(60)


def test_an_open_server_lets_these_pass() -> None:
    with no_warning(), tinkex.ServiceClient(base_url="local://") as service:
        training = service.create_lora_training_client("tinkex/byte-lm", rank=2)
        training.optim_step().result(60)
        training.forward_backward([datum([1, 2], [1, 2], [0.0, 0.0])], "cross_entropy").result(60)
        training.optim_step().result(60)


def test_targets_that_are_not_shifted_are_warned_of_once(training: tinkex.TrainingClient) -> None:
    with no_warning():
        for fine in (
            GOOD,
            datum([1, 2, 3], [9, 3, 4], [0.0, 1.0, 1.0]),  # what has no weight may be anything
            datum([1, 2, 3], [2, 3, 9]),  # nothing follows the last token
            datum([1], [7]),
        ):
            training.forward_backward([fine], "cross_entropy").result(60)
        wide = types.Datum(types.ModelInput.from_ints([1, 2]), {"target_tokens": [[5, 6], [7, 8]]})
        training.forward_backward([wide], "cross_entropy").result(60)
    several = [GOOD, datum([1, 2, 3], [1, 2, 3])]

    def train_thrice() -> None:
        for _ in range(3):
            training.forward_backward(several, "cross_entropy").result(60)

    with pytest.warns(tinkex.ServerWarning, match=r"data\[1\].target_tokens of model .* shifted") as caught:
        train_thrice()
    assert len(caught) == 1
    assert caught[0].filename.startswith("http://127.0.0.1")


def _train(training: tinkex.TrainingClient) -> None:
    training.forward_backward([GOOD], "cross_entropy")
    training.optim_step().result(60)


def test_a_forgotten_save(strict: LocalServer) -> None:
    trained: list[str] = []

    def session(save: str | None, *, unload: bool = False) -> None:
        with tinkex.ServiceClient(base_url=strict.base_url, api_key=strict.api_key) as service:
            training = service.create_lora_training_client("tinkex/byte-lm", rank=2)
            service.create_lora_training_client("tinkex/byte-lm", rank=2)  # never trained
            _train(training)
            training.save_weights_and_get_sampling_client()  # which keeps nothing
            trained.append(training.model_id)
            if save is not None:
                getattr(training, save)("kept").result(60)
            if unload:
                training.unload().result(60)

    with pytest.warns(tinkex.ServerWarning, match="never saved") as caught:
        session(None)
    assert [trained[-1] in str(each.message) for each in caught] == [True]
    with pytest.warns(tinkex.ServerWarning, match="never saved") as caught:
        session(None, unload=True)
    assert len(caught) == 1
    with no_warning():
        for save in ("save_state", "save_weights_for_sampler", "save_weights_external"):
            session(save)


def test_the_log_of_the_server_says_it_for_clients_that_are_gone(caplog: pytest.LogCaptureFixture) -> None:
    with LocalServer(strict=True, session_timeout=0.2) as server:
        api = Api(server)
        model = api.model()
        data = [
            {**prompt_of([1, 2]), "loss_fn_inputs": {"target_tokens": {"data": [2, 3], "dtype": "int64"}}}
        ]
        api.run(
            "forward_backward",
            model_id=model,
            forward_backward_input={"data": data, "loss_fn": "cross_entropy"},
        )
        api.run("optim_step", model_id=model)
        wait_until(lambda: "never saved" in caplog.text)  # its session has sent no heartbeat
        assert model in caplog.text
        api.http.close()
    caplog.clear()
    with LocalServer(strict=True) as server:
        api = Api(server)
        model = api.model()
        api.run(
            "forward_backward",
            model_id=model,
            forward_backward_input={"data": data, "loss_fn": "cross_entropy"},
        )
        api.run("optim_step", model_id=model)
        api.http.close()
    assert "never saved" in caplog.text  # the server was stopped before the session ended


def prompt_of(tokens: list[int]) -> dict[str, Any]:
    return {"model_input": {"chunks": [{"type": "encoded_text", "tokens": tokens}]}}


_FORGETFUL = """
    import tinkex
    from tinkex import types

    service = tinkex.ServiceClient(base_url="local://?strict=1")
    training = service.create_lora_training_client("tinkex/byte-lm", rank=2)
    datum = types.Datum(types.ModelInput.from_ints([1, 2]), {"target_tokens": [1, 2]})
    training.forward_backward([datum], "cross_entropy").result(60)
    training.optim_step().result(60)
"""


def test_a_plain_script_shows_the_warnings_without_asking() -> None:
    shown = programs.run_code(_FORGETFUL).stderr
    assert shown.count("ServerWarning") == 2
    assert "shifted" in shown
    assert "never saved" in shown  # the script has not even closed its service


def test_warnings_as_errors_fail_no_request() -> None:
    shown = programs.run_code(
        f"import warnings\nwarnings.simplefilter('error')\n{_train_source()}", PYTHONWARNINGS="error"
    ).stderr
    assert "Exception in thread tinkex-" in shown
    assert "shifted" in shown


def _train_source() -> str:
    return "\n".join(line.strip() for line in _FORGETFUL.splitlines())


def test_warnings_stand_in_a_header(strict: LocalServer) -> None:
    api = Api(strict)
    bad = {**prompt_of([1, 2]), "loss_fn_inputs": {"target_tokens": {"data": [1, 2], "dtype": "int64"}}}
    answer = api.send(
        "forward_backward",
        model_id=api.model(),
        forward_backward_input={"data": [bad], "loss_fn": "cross_entropy"},
    )
    assert answer.headers["Warning"].startswith('299 tinkex "data[0].target_tokens')
    assert answer.json().keys() == {"request_id", "model_id"}
    api.http.close()
