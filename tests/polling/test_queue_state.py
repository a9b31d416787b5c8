"""What users are told of a queue that is paused."""

from __future__ import annotations

import pytest
from clients import NOT_YET, sample

import tinkex
from tinkex.testing import TinkerServer


def test_a_pause_of_the_queue_is_told_at_most_once_a_minute(
    server: TinkerServer, sampler: tinkex.SamplingClient, caplog: pytest.LogCaptureFixture
) -> None:
    paused = {**NOT_YET, "queue_state": "paused_rate_limit", "queue_state_reason": "too many tokens"}
    server.once("/retrieve_future", paused, paused, paused)
    sample(sampler)
    warnings = [record.getMessage() for record in caplog.records if "paused" in record.getMessage()]
    assert len(warnings) == 1
    assert "too many tokens" in warnings[0]


def test_an_observer_that_fails_loses_no_result(
    server: TinkerServer, training: tinkex.TrainingClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise ValueError("mine")

    monkeypatch.setattr(training, "on_queue_state_change", fail)
    server.once("/retrieve_future", {"type": "try_again", "queue_state": "active", "request_id": "r"})
    training.optim_step().result(60)
    training.optim_step().result(60)
