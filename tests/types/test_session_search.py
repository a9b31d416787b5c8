"""Sessions that were searched for."""

from __future__ import annotations

import pytest

from tinkex import RestClient, types
from tinkex.testing import TinkerServer


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (None, None),
        ({"type": "active"}, types.SessionActive()),
        ({"type": "cancelled", "detail": "x"}, types.SessionCancelled(detail="x")),
        (
            {"type": "client_finished", "reason": {"type": "success"}},
            types.ClientSessionFinished(reason=types.ClientSessionFinishSuccess()),
        ),
        (
            {"type": "client_finished", "reason": {"type": "interrupted"}},
            types.ClientSessionFinished(reason=types.ClientSessionFinishInterrupted()),
        ),
        (
            {
                "type": "failed",
                "category": "user",
                "message": "m",
                "reason": {"type": "request", "request_id": "r", "request_type": "Sample"},
            },
            types.SessionFailed(
                category="user",
                message="m",
                reason=types.SessionFailedRequestReason(request_id="r", request_type="Sample"),
            ),
        ),
        (
            {"type": "failed", "reason": {"type": "training_run", "training_run_id": "t"}},
            types.SessionFailed(reason=types.SessionFailedTrainingRunReason(training_run_id="t")),
        ),
        (
            {"type": "failed", "reason": {"type": "sampling_session", "sampling_session_id": "s"}},
            types.SessionFailed(reason=types.SessionFailedSamplingSessionReason(sampling_session_id="s")),
        ),
        (
            {"type": "new", "reason": {"type": "newer"}},
            types.SessionStatus("new", types.SessionStatusReason("newer")),
        ),
    ],
)
def test_a_status_is_of_the_class_of_its_kind(
    client: RestClient, server: TinkerServer, answer: object, expected: types.SessionStatus | None
) -> None:
    found = {"session_id": "s", "created_at": 0, "owner": "me", "project_id": "p", "checkpoints_count": 0}
    server.on("/sessions/search", {"sessions": [{**found, "status": answer}]})
    [summary] = client.search_sessions(types.SessionSearchRequest()).result(60).sessions
    assert summary.status == expected
