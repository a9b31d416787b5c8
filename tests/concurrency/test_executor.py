"""Worker threads: when the system gives no more of them, and when a callback exits."""

from __future__ import annotations

import pytest
from clients import DATUM, config, no_new_worker_threads, seq_ids

import tinkex
from tinkex.testing import Hang, TinkerServer


def test_a_callback_that_exits_ends_nothing_else(
    server: TinkerServer, training: tinkex.TrainingClient
) -> None:
    def leave(_: object) -> None:
        raise SystemExit

    held = Hang(400)
    server.once("/optim_step", held)
    training.optim_step().add_done_callback(leave)
    held.release()
    training.optim_step().result(60)


def test_chunks_go_out_where_there_are_no_more_threads(
    server: TinkerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.on("/client/config", {"fwdbwd_max_chunk_len": 1})
    with tinkex.ServiceClient(config=config(server, wire_format="json")) as service:
        training = service.create_lora_training_client("tinkex/byte-lm")
        no_new_worker_threads(monkeypatch)
        output = training.forward_backward([DATUM] * 3, "cross_entropy").result(60)
    assert len(output.loss_fn_outputs) == 3
    assert sorted(seq_ids(server, "/forward_backward")) == [1, 2, 3]
