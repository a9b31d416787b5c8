"""Which format a server takes, and what it gets."""

from __future__ import annotations

import pytest
import zstandard
from clients import DATUM, config, seq_ids, when

import tinkex
from tinkex.testing import Reply, Request, Reset, TinkerServer
from tinkex.wire import messages_pb2 as pb


def test_a_first_request_is_tried_again_while_its_format_is_still_unknown(server: TinkerServer) -> None:
    server.once("/forward_backward", 503, Reset(), 429)
    with tinkex.ServiceClient(config=config(server)) as service:
        training = service.create_lora_training_client("tinkex/byte-lm")
        training.forward_backward([DATUM], "cross_entropy").result(60)
    sent = server.requests.to("/forward_backward")[:4]  # the fourth is answered: no proto, please
    assert {request.headers["content-type"] for request in sent} == {"application/x-protobuf"}
    assert len({(request.content, request.headers["x-idempotency-key"]) for request in sent}) == 1


def proto_only(request: Request) -> Reply | None:
    if request.headers["content-type"] != "application/x-protobuf":
        return Reply(415, {"detail": "proto only"})
    assert pb.ForwardBackwardRequest.FromString(request.content).data
    return Reply(200, {"request_id": "proto-work"})


@pytest.mark.parametrize("refusal", [400, 415, 422, 500])
def test_a_server_that_refuses_proto_gets_json_from_then_on(server: TinkerServer, refusal: int) -> None:
    server.on("/forward_backward", when(lambda r: "protobuf" in r.headers["content-type"], refusal))
    with tinkex.ServiceClient(config=config(server)) as service:
        training = service.create_lora_training_client("tinkex/byte-lm")
        for _ in range(3):
            training.forward_backward([DATUM], "cross_entropy").result(60)
        training.forward([DATUM], "cross_entropy").result(60)
    formats = ["protobuf" in r.headers["content-type"] for r in server.requests.to("/forward_backward")]
    assert formats == [True, False, False, False]
    assert seq_ids(server) == [1, 2, 3, 4]
    assert len(server.requests.to("/forward")) == 1


def test_a_server_that_takes_proto_keeps_getting_it(server: TinkerServer) -> None:
    message = pb.ForwardBackwardOutput(loss_fn_output_type="x")
    message.loss_fn_outputs.add(num_datums=1)
    result = Reply(200, message.SerializeToString(), {"Content-Type": "application/x-protobuf"})
    server.on("/forward_backward", proto_only)
    server.on("/retrieve_future", when(lambda r: r.json()["request_id"] == "proto-work", result))
    with tinkex.ServiceClient(config=config(server)) as service:
        training = service.create_lora_training_client("tinkex/byte-lm")
        assert training.forward_backward([DATUM], "cross_entropy").result(60).loss_fn_output_type == "x"
        training.forward([DATUM], "cross_entropy").result(60)
        server.once("/forward_backward", Reply(422, {"detail": "bad loss"}))
        with pytest.raises(tinkex.UnprocessableEntityError, match="bad loss"):
            training.forward_backward([DATUM], "bad").result(60)
    sent = [pb.ForwardBackwardRequest.FromString(r.content) for r in server.requests.to("/forward_backward")]
    assert [(one.seq_id, one.forward_only) for one in sent] == [(1, False), (2, True), (3, False)]


@pytest.mark.parametrize(
    ("status", "error"), [(503, tinkex.ClientPoisonedError), (429, tinkex.RateLimitError)]
)
def test_what_becomes_of_the_json_is_what_became_of_the_request(
    server: TinkerServer, status: int, error: type[Exception]
) -> None:
    server.on(
        "/forward_backward",
        lambda request: status if request.headers["content-type"] == "application/json" else 415,
    )
    with tinkex.ServiceClient(config=config(server)) as service:
        training = service.create_lora_training_client("tinkex/byte-lm")
        with pytest.raises(error):
            training.forward_backward([DATUM], "cross_entropy").result(60)


def test_a_refusal_of_both_formats_is_the_refusal_of_the_work(server: TinkerServer) -> None:
    def refuse(request: Request) -> Reply:
        proto = "protobuf" in request.headers["content-type"]
        return Reply(422, {"detail": "bad loss"}) if proto else Reply(415, {"detail": "proto only"})

    server.on("/forward_backward", refuse)
    with tinkex.ServiceClient(config=config(server)) as service:
        training = service.create_lora_training_client("tinkex/byte-lm")
        with pytest.raises(tinkex.UnprocessableEntityError, match="bad loss"):
            training.forward_backward([DATUM], "bad").result(60)


def test_proto_bodies_are_compressed_when_the_server_asks_for_it(server: TinkerServer) -> None:
    server.on("/client/config", {"proto_compress_fwdbwd": True})
    server.on("/forward_backward", {"request_id": "compressed"})
    answer = {"loss_fn_output_type": "x", "loss_fn_outputs": [{}] * 50, "metrics": {}}
    server.on("/retrieve_future", when(lambda r: r.json()["request_id"] == "compressed", answer))
    with tinkex.ServiceClient(config=config(server)) as service:
        training = service.create_lora_training_client("tinkex/byte-lm")
        training.forward_backward([DATUM] * 50, "cross_entropy").result(60)
    [request] = server.requests.to("/forward_backward")
    assert request.headers["content-encoding"] == "zstd"
    sent = pb.ForwardBackwardRequest.FromString(zstandard.decompress(request.content))
    assert len(sent.data) == 50
    assert len(request.content) < sent.ByteSize()


def test_a_refusal_does_not_say_what_became_of_an_earlier_try_in_the_same_format(
    server: TinkerServer,
) -> None:
    server.once("/forward_backward", 500, 415, 422)  # proto, JSON, proto again
    with tinkex.ServiceClient(config=config(server)) as service:
        training = service.create_lora_training_client("tinkex/byte-lm")
        with pytest.raises(tinkex.ClientPoisonedError):
            training.forward_backward([DATUM], "cross_entropy").result(60)
    formats = ["protobuf" in r.headers["content-type"] for r in server.requests.to("/forward_backward")]
    assert formats == [True, False, True]
