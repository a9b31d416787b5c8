"""Passes over batches that are too large for one request."""

from __future__ import annotations

import pytest
from clients import DATUM, config, datum, seq_ids, when

import tinkex
from tinkex.testing import TinkerServer


def test_a_large_batch_travels_in_chunks_and_comes_back_whole(server: TinkerServer) -> None:
    server.on("/client/config", {"fwdbwd_max_chunk_len": 2, "parallel_fwdbwd_chunks": True})
    with tinkex.ServiceClient(config=config(server, wire_format="json")) as service:
        training = service.create_lora_training_client("tinkex/byte-lm")
        data = [datum(*range(length + 1)) for length in (1, 2, 3, 4, 5)]
        output = training.forward_backward(data, "cross_entropy").result(60)
        training.optim_step().result(60)
    assert [len(tensors["logprobs"].data) for tensors in output.loss_fn_outputs] == [1, 2, 3, 4, 5]
    logprobs = sum(sum(tensors["logprobs"].data) for tensors in output.loss_fn_outputs)
    assert output.metrics == {"loss:sum": pytest.approx(-logprobs, rel=1e-4)}
    sent = seq_ids(server, "/forward_backward")
    assert sorted(sent) == [1, 2, 3]
    assert sent[-1] == 1, "the first chunk goes last, so that the server sees the batch whole"
    assert seq_ids(server, "/optim_step") == [4]


def test_without_parallel_sending_the_chunks_go_in_order(server: TinkerServer) -> None:
    server.on("/client/config", {"fwdbwd_max_chunk_len": 1, "parallel_fwdbwd_chunks": False})
    with tinkex.ServiceClient(config=config(server, wire_format="json")) as service:
        training = service.create_lora_training_client("tinkex/byte-lm")
        training.forward_backward([DATUM] * 4, "cross_entropy").result(60)
    assert seq_ids(server, "/forward_backward") == [1, 2, 3, 4]


def test_half_a_batch_poisons(server: TinkerServer) -> None:
    server.on("/client/config", {"fwdbwd_max_chunk_len": 1, "parallel_fwdbwd_chunks": False})
    server.on("/forward_backward", when(lambda request: request.json()["seq_id"] == 2, 422))
    with tinkex.ServiceClient(config=config(server, wire_format="json")) as service:
        training = service.create_lora_training_client("tinkex/byte-lm")
        with pytest.raises(tinkex.ClientPoisonedError, match="1 of 3"):
            training.forward_backward([DATUM] * 3, "cross_entropy").result(60)
