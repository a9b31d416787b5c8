"""``AdminClient``: usage, and who one is."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from clients import config
from listings import NOON, USAGE

import tinkex
from tinkex import RestClient, types
from tinkex.testing import TinkerServer


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"type": "training", "token_count": 7}, types.TrainingBillingEvent(token_count=7)),
        (
            {"type": "sampling_prefill", "cached": True, "token_count": 7},
            types.SamplingPrefillBillingEvent(cached=True, token_count=7),
        ),
        ({"type": "sampling_sample", "token_count": 7}, types.SamplingSampleBillingEvent(token_count=7)),
        ({"type": "checkpoint", "count": 2}, types.CheckpointBillingEvent(count=2)),
        (
            {"type": "storage", "gigabyte_hours": 0.5, "free": True},
            types.StorageBillingEvent(gigabyte_hours=0.5, free=True),
        ),
        ({"type": "new", "count": 3, "more": 1}, types.BillingEventInfo("new", count=3)),
    ],
)
def test_usage_is_of_the_class_of_its_kind(
    client: RestClient, server: TinkerServer, answer: dict[str, Any], expected: types.BillingEventInfo
) -> None:
    hour = {"bucket_start": "2026-01-02T12:00:00Z", "bucket_end": "2026-01-02T13:00:00Z"}
    server.on(USAGE, {"data": [{**hour, "event_info": answer}]})
    assert client.get_billing_usage(NOON, NOON).result(60).data[0].event_info == expected


def test_whoami_reads_the_token(client: RestClient, server: TinkerServer) -> None:
    claims = base64.urlsafe_b64encode(
        json.dumps({"sub": "urn:me", "org_id": "o", "email": ""}).encode()
    ).decode()
    token = f"eyJhbGciOiJub25lIn0.{claims.rstrip('=')}.signature"
    me = types.WhoamiResponse("urn:me", "tml:organization:o", None)
    with pytest.raises(tinkex.NotFoundError):
        client.whoami().result(60)
    server.on("/auth/token", {"jwt": token})
    assert client.whoami().result(60) == me
    with RestClient(config=config(server, api_key=token)) as another:
        assert another.whoami().result(60) == me
    assert len(server.requests.to("/auth/token")) == 2
