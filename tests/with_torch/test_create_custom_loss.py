"""``create_custom_loss``: what is sent of a loss, what is refused before, and how its handle is used."""

from __future__ import annotations

import inspect
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from clients import config, seq_ids

import tinkex
from tinkex import types
from tinkex.testing import Hang, Reply, Request, TinkerServer
from tinkex.wire import messages_pb2 as pb

pytestmark = pytest.mark.filterwarnings("error")
RANKS: dict[str, Any] = {"logprobs": 1, "weights": 1}
DATUM = types.Datum(
    types.ModelInput.from_ints([1, 2]),
    {"target_tokens": [2, 3], "weights": [1.0, 0.5], "advantages": [1.0, 1.0]},
)


def nll(logprobs: Any, weights: Any) -> tuple[Any, dict[str, Any]]:
    loss = -(logprobs * weights).sum()
    return loss, {"custom/nll:sum": loss}


@pytest.fixture
def running_losses(server: TinkerServer) -> TinkerServer:
    """A server that takes custom losses: the nth it is given is ``loss-n``. It can answer one pass and one step."""
    logprobs = {"logprobs": {"data": [-1.0, -1.0], "dtype": "float32"}}
    done = {
        "pass": {"loss_fn_output_type": "", "loss_fn_outputs": [logprobs], "metrics": {}},
        "step": {"type": "optim_step", "metrics": None},
    }
    server.on("/client/config", {"custom_loss_server_side": True})
    server.on("/create_custom_loss", lambda r: {"request_id": f"loss-{r.json()['custom_loss_seq_id']}"})

    def result(request: Request) -> dict[str, Any] | None:
        asked = request.json()["request_id"]
        if asked.startswith("loss-"):
            return {"loss_id": asked, "type": "create_custom_loss"}
        return done.get(asked)

    server.on("/retrieve_future", result)
    return server


@pytest.fixture
def on_server(running_losses: TinkerServer) -> Iterator[tinkex.ServiceClient]:
    with tinkex.ServiceClient(config=config(running_losses, wire_format="json")) as made:
        yield made


def test_a_loss_is_sent_as_its_graph(server: TinkerServer, on_server: tinkex.ServiceClient) -> None:
    handle = on_server.create_custom_loss(nll, RANKS).result(60)
    [request] = server.requests.to("/create_custom_loss")

    def ref(name: str) -> dict[str, str]:
        return {"ref": name}

    def node(op: str, name: str, target: str, *args: Any) -> dict[str, Any]:
        return {"op": op, "name": name, "target": target, "args": list(args), "kwargs": {}}

    loss_and_metrics = {"tuple": [ref("neg"), {"dict": {"custom/nll:sum": ref("neg")}}]}
    assert request.json() == {
        "type": "create_custom_loss",
        "session_id": on_server.session_id,
        "custom_loss_seq_id": 0,
        "name": "nll",
        "inputs": [{"name": "logprobs", "rank": 1}, {"name": "weights", "rank": 1}],
        "graph": {
            "format": 1,
            "nodes": [
                node("placeholder", "logprobs", "logprobs"),
                node("placeholder", "weights", "weights"),
                node("call_function", "mul", "operator.mul", ref("logprobs"), ref("weights")),
                node("call_method", "sum_1", "sum", ref("mul")),
                node("call_function", "neg", "operator.neg", ref("sum_1")),
                node("output", "output", "output", loss_and_metrics),
            ],
        },
    }
    assert isinstance(handle, tinkex.LossHandle)
    assert (handle.name, handle.loss_id, handle.session_id) == ("nll", "loss-0", on_server.session_id)
    assert handle.inputs == (types.CustomLossInput("logprobs", 1), types.CustomLossInput("weights", 1))
    assert handle.input_names == ("weights",)


@pytest.mark.parametrize(
    ("step", "args", "kwargs"),
    [
        (lambda lp: lp[..., 1:], [{"tuple": [{"ellipsis": True}, {"slice": [1, None, None]}]}], {}),
        (lambda lp: lp.clamp(min=None, max=-0.5), [], {"min": None, "max": -0.5}),
        (lambda lp: torch.sum(lp, dim=[0]), [], {"dim": [0]}),
        (lambda lp: torch.sum(lp, dim=(0,), keepdim=True), [], {"dim": {"tuple": [0]}, "keepdim": True}),
        (lambda lp: torch.where(lp > 0, lp, -math.inf), [{"ref": "logprobs"}, {"float": "-inf"}], {}),
        (lambda lp: lp.nan_to_num(math.nan, math.inf), [{"float": "nan"}, {"float": "inf"}], {}),
        (
            lambda lp: lp.to(torch.bfloat16, memory_format=torch.contiguous_format),
            [{"dtype": "bfloat16"}],
            {"memory_format": {"memory_format": "contiguous_format"}},
        ),
        (
            lambda lp: torch.zeros_like(lp, device=torch.device("cpu"), layout=torch.strided),
            [],
            {"device": {"device": "cpu"}, "layout": {"layout": "strided"}},
        ),
        (lambda lp: torch.einsum("i->", lp), [{"ref": "logprobs"}], {}),
    ],
)
def test_arguments_of_every_kind_are_encoded(
    server: TinkerServer,
    on_server: tinkex.ServiceClient,
    step: Callable[[Any], Any],
    args: list[Any],
    kwargs: dict[str, Any],
) -> None:
    on_server.create_custom_loss(lambda logprobs: (step(logprobs), {}), {"logprobs": 1}).result(60)
    [request] = server.requests.to("/create_custom_loss")
    sent = request.json()["graph"]["nodes"][-2]  # the last before the output
    assert sent["args"][len(sent["args"]) - len(args) :] == args
    assert sent["kwargs"] == kwargs


def test_a_loss_of_the_server_takes_one_pass_with_the_data_as_it_is(
    server: TinkerServer, on_server: tinkex.ServiceClient
) -> None:
    server.on("/forward_backward", {"request_id": "pass"})
    server.on("/optim_step", {"request_id": "step"})
    training = on_server.create_lora_training_client("tinkex/byte-lm")
    handle = on_server.create_custom_loss(nll, RANKS).result(60)
    training.forward_backward_custom([DATUM], handle).result(60)
    training.optim_step().result(60)
    assert seq_ids(server) == [1, 2]
    assert not server.requests.to("/forward")
    [request] = server.requests.to("/forward_backward")
    sent = request.json()["forward_backward_input"]
    assert (sent["loss_fn"], sent["loss_fn_config"]) == ("custom", {"loss_id": "loss-0"})
    assert set(sent["data"][0]["loss_fn_inputs"]) == {"target_tokens", "weights", "advantages"}


def test_proto_names_the_loss_too(running_losses: TinkerServer) -> None:
    running_losses.on("/forward_backward", lambda request: {"request_id": "loss-pass"})
    with tinkex.ServiceClient(config=config(running_losses, wire_format="proto")) as service:
        training = service.create_lora_training_client("tinkex/byte-lm")
        handle = service.create_custom_loss(nll, RANKS).result(60)
        training.forward_backward_custom([DATUM], handle)
        [request] = running_losses.requests.wait_for("/forward_backward")
    sent = pb.ForwardBackwardRequest.FromString(request.content)
    assert (sent.loss_fn, sent.loss_fn_config_v2["loss_id"].text) == ("custom", "loss-0")
    assert not sent.forward_only


def test_a_loss_of_this_process_sends_nothing_but_its_gradients(
    server: TinkerServer, service: tinkex.ServiceClient
) -> None:
    training = service.create_lora_training_client("tinkex/byte-lm")
    handle = service.create_custom_loss(nll, RANKS).result(60)
    assert handle.loss_id is None
    output = training.forward_backward_custom([DATUM, DATUM], handle).result(60)
    assert output.metrics["loss:sum"] == output.metrics["custom/nll:sum"]
    # This loss is cross entropy, so the backward pass, whose loss is linear in the logprobs, has the same value.
    assert output.metrics["loss:sum"] == pytest.approx(output.metrics["surrogate_loss:sum"], rel=1e-5)
    assert not server.requests.to("/create_custom_loss")
    [forward], [backward] = server.requests.to("/forward"), server.requests.to("/forward_backward")
    for datum in forward.json()["forward_input"]["data"]:
        assert set(datum["loss_fn_inputs"]) == {"target_tokens", "weights"}
    sent = backward.json()["forward_backward_input"]
    assert sent["loss_fn"] == "cross_entropy"
    assert [datum["loss_fn_inputs"]["weights"]["data"] for datum in sent["data"]] == [[1.0, 0.5]] * 2


CAPTURED = torch.ones(2)
LAYER = torch.nn.Linear(2, 1)


@torch.fx.wrap
def elsewhere(values: Any) -> Any:
    return values.sum()


def branching(logprobs: Any) -> Any:
    return (logprobs.sum() if logprobs.mean() > 0 else -logprobs.sum()), {}


def with_default(logprobs: Any, weights: Any = None) -> Any:
    return logprobs.sum(), {}


def with_keyword(logprobs: Any, *, weights: Any) -> Any:
    return logprobs.sum(), {}


def with_capital(logprobs: Any, Weights: Any) -> Any:
    return logprobs.sum(), {}


def differentiating(logprobs: Any) -> Any:
    loss = logprobs.sum()
    loss.backward()
    return loss, {}


@pytest.mark.parametrize(
    ("fn", "why"),
    [
        (branching, "branch on the values"),
        (with_default, "have no default"),
        (with_keyword, "must be positional"),
        (with_capital, "lower case"),
        (differentiating, r"backward\(\)"),
        (lambda data, logprobs: (logprobs.sum(), {}), "first parameter must be logprobs"),
        (lambda logprobs, *more: (logprobs.sum(), {}), "must be positional"),
        (eval(f"lambda logprobs, {', '.join(f'a{n}' for n in range(16))}: 0"), "at most 16"),
        (lambda logprobs: (logprobs * CAPTURED).sum(), "captures a tensor"),
        (lambda logprobs: (LAYER(logprobs).sum(), {}), "torch.fx cannot trace it"),
        (lambda logprobs: (logprobs.numpy().sum(), {}), "must stay a tensor"),
        (lambda logprobs: (logprobs.sum(), {"custom/n:sum": logprobs.sum().item()}), "must stay a tensor"),
        (lambda logprobs: (logprobs.summ(), {}), "tensors do not have"),
        (lambda logprobs: (logprobs * 1j, {}), "passes a complex"),
        (lambda logprobs: (logprobs.sum(), []), "the metrics a dict"),
        (lambda logprobs: logprobs.sum(), r"must return \(loss, metrics\)"),
        (lambda logprobs: (1.0, {}), "a loss computed from"),
        (lambda logprobs: (logprobs.sum(), {"custom/n:sum": 1.0}), "metric 'custom/n:sum' must be computed"),
        (lambda logprobs: (logprobs.sum(), {"loss:sum": logprobs.sum()}), "must be named custom/"),
        (lambda logprobs: (logprobs.sum(), {"custom/n:max": logprobs.sum()}), "must be named custom/"),
        (lambda logprobs: (elsewhere(logprobs), {}), "only torch and math may be called"),
        ("not a function", "no function"),
    ],
)
@pytest.mark.parametrize("where", ["service", "on_server"])
def test_what_cannot_be_a_loss_is_refused_before_anything_is_sent(
    server: TinkerServer, request: pytest.FixtureRequest, where: str, fn: Any, why: str
) -> None:
    client = request.getfixturevalue(where)
    ranks = dict.fromkeys(inspect.signature(fn).parameters if callable(fn) else (), 1)
    before = len(server.requests)
    with pytest.raises(tinkex.InputError, match=why):
        client.create_custom_loss(fn, ranks)
    assert len(server.requests) == before


@pytest.mark.parametrize(
    "ranks",
    [
        {},
        {"logprobs": 1},
        {**RANKS, "more": 1},
        {**RANKS, "weights": 3},
        {**RANKS, "logprobs": 0},
        None,
        [1, 1],
    ],
)
def test_ranks_that_do_not_fit_are_refused(service: tinkex.ServiceClient, ranks: Any) -> None:
    with pytest.raises(tinkex.InputError, match="rank"):
        service.create_custom_loss(nll, ranks)


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        ({"weights": [1.0]}, r"data\[1\] has no loss_fn_inputs\['target_tokens'\]"),
        ({"target_tokens": [1]}, r"data\[1\] has no loss_fn_inputs\['weights'\]"),
        ({"target_tokens": [[1, 2]], "weights": [1.0]}, "target_tokens.* of rank 2; .* logprobs of rank 1"),
        ({"target_tokens": [1], "weights": [[1.0]]}, "weights.* of rank 2; .* weights of rank 1"),
    ],
)
@pytest.mark.parametrize("where", ["service", "on_server"])
def test_data_that_does_not_fit_a_loss_is_refused_before_anything_is_sent(
    server: TinkerServer, request: pytest.FixtureRequest, where: str, inputs: dict[str, Any], why: str
) -> None:
    client = request.getfixturevalue(where)
    training = client.create_lora_training_client("tinkex/byte-lm")
    handle = client.create_custom_loss(nll, RANKS).result(60)
    before = len(server.requests)
    with pytest.raises(tinkex.InputError, match=why):
        training.forward_backward_custom([DATUM, types.Datum(DATUM.model_input, inputs)], handle)
    assert len(server.requests) == before


def test_a_loss_works_only_in_its_own_session(server: TinkerServer, on_server: tinkex.ServiceClient) -> None:
    handle = on_server.create_custom_loss(nll, RANKS).result(60)
    with tinkex.ServiceClient(config=config(server)) as other:
        training = other.create_lora_training_client("tinkex/byte-lm")
        with pytest.raises(tinkex.InputError, match=on_server.session_id):
            training.forward_backward_custom([DATUM], handle)
        own = other.create_custom_loss(nll, RANKS).result(60)
    assert own.session_id == other.session_id
    assert own.key == handle.key


def test_a_session_takes_a_loss_once_and_numbers_them(
    server: TinkerServer, on_server: tinkex.ServiceClient
) -> None:
    def same(logprobs: Any, weights: Any) -> tuple[Any, dict[str, Any]]:
        loss = -(logprobs * weights).sum()
        return loss, {"custom/nll:sum": loss}

    on_server.create_custom_loss(nll, RANKS).result(60)
    with pytest.raises(tinkex.InputError, match="as 'nll'"):
        on_server.create_custom_loss(same, RANKS).result(60)
    other = on_server.create_custom_loss(nll, {"logprobs": 2, "weights": 2}).result(60)
    assert other.loss_id == "loss-1"
    numbers = [r.json()["custom_loss_seq_id"] for r in server.requests.to("/create_custom_loss")]
    assert numbers == [0, 1]


@pytest.mark.parametrize("path", ["/create_custom_loss", "/retrieve_future"])
def test_a_loss_that_the_server_refused_can_be_made_again(
    server: TinkerServer, on_server: tinkex.ServiceClient, path: str
) -> None:
    server.once(path, Reply(400, {"detail": "torch.exp is not allowed"}))
    refused = (tinkex.BadRequestError, tinkex.RequestFailedError)
    with pytest.raises(refused, match="is not allowed"):
        on_server.create_custom_loss(nll, RANKS).result(60)
    assert on_server.create_custom_loss(nll, RANKS).result(60).loss_id == "loss-1"


def test_a_call_does_not_wait_for_the_server_and_retries_the_same_bytes(
    server: TinkerServer, on_server: tinkex.ServiceClient
) -> None:
    hang = Hang(then=503)
    server.once("/create_custom_loss", hang)
    future = on_server.create_custom_loss(nll, RANKS)
    assert not future.done()
    hang.release()
    assert future.result(60).loss_id == "loss-0"
    first, again = server.requests.to("/create_custom_loss")
    assert first.content == again.content


def test_a_forgotten_promise_is_asked_for_again_with_the_same_bytes(
    server: TinkerServer, on_server: tinkex.ServiceClient
) -> None:
    server.once("/retrieve_future", 410)
    assert on_server.create_custom_loss(nll, RANKS).result(60).loss_id == "loss-0"
    first, again = server.requests.to("/create_custom_loss")
    assert first.content == again.content
    server.on("/retrieve_future", 410)
    with pytest.raises(tinkex.APIError, match="forgot a CreateCustomLoss request 3 times"):
        on_server.create_custom_loss(nll, {"logprobs": 2, "weights": 2}).result(60)


def test_an_answer_without_a_loss_id_is_no_loss(
    server: TinkerServer, on_server: tinkex.ServiceClient
) -> None:
    nameless: dict[str, Any] = {"type": "create_custom_loss"}
    server.once("/retrieve_future", nameless, {**nameless, "loss_id": 7})
    assert on_server.create_custom_loss(nll, RANKS).result(60).loss_id == "loss-0"
    assert len(server.requests.to("/retrieve_future")) == 3


def test_losses_traced_at_once_leave_torch_as_it_was(on_server: tinkex.ServiceClient) -> None:
    original = torch.nn.Module.__call__
    tracing, other_too = threading.Event(), threading.Event()

    def begins_first(logprobs: Any) -> Any:
        tracing.set()
        other_too.wait(0.2)  # in vain, for the other has to wait for this one
        return logprobs.sum(), {}

    def ends_last(logprobs: Any) -> Any:
        other_too.set()
        thread.join(60)
        return logprobs.mean(), {}

    thread = threading.Thread(target=on_server.create_custom_loss, args=(begins_first, {"logprobs": 1}))
    thread.start()
    assert tracing.wait(60)
    on_server.create_custom_loss(ends_last, {"logprobs": 1}).result(60)
    assert torch.nn.Module.__call__ is original
