"""The first two calls of a session: what the server says of itself."""

from __future__ import annotations

import logging

import pytest
from clients import PARAMS, PROMPT, client_of, config

from tinkex import SessionManager
from tinkex.testing import Reply, TinkerServer

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_the_messages_of_the_server_are_logged(
    server: TinkerServer, manager: SessionManager, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tinkex")
    answer = {"session_id": "s", "info_message": "hi", "warning_message": "mind", "error_message": "ouch"}
    server.on("/create_session", answer)
    manager.start_session(config(server))
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("INFO", "hi"), ("WARNING", "mind"), ("ERROR", "ouch"),
    ]  # fmt: skip


def test_flags_that_are_null_are_the_defaults(server: TinkerServer) -> None:
    server.on("/client/config", Reply(200, b"null"))
    with client_of(server) as service:
        assert (
            service.create_sampling_client(base_model="tinkex/byte-lm")
            .sample(PROMPT, 1, PARAMS)
            .result(60)
            .sequences
        )
