"""The archive of a checkpoint is a link; what is no link is refused."""

from __future__ import annotations

import tracemalloc

import pytest
from clients import config
from raw_server import head, raw_server

import tinkex
from tinkex import Config
from tinkex.api.rest import archive_url
from tinkex.http.transport import Transport
from tinkex.testing import Reply, TinkerServer

MB = 1 << 20


def test_an_archive_that_comes_at_once_is_left_unread() -> None:
    sent = [head(Content_Type="application/x-tar"), *[bytes(MB)] * 30]
    with raw_server(sent) as url:
        transport = Transport(Config(base_url=url, api_key="tml-test", max_tries=1))
        tracemalloc.start()
        with pytest.raises(tinkex.APIResponseValidationError, match="200 instead of a redirect"):
            archive_url(transport, "run", "weights/x")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        transport.close()
    assert peak < 3 * MB


@pytest.mark.parametrize(
    "location",
    [None, "", "ftp://x/y", "file:///etc/passwd", "http://[", "javascript:1"],
)
def test_a_redirect_that_leads_nowhere_is_refused(
    server: TinkerServer, transport: Transport, location: str | None
) -> None:
    server.on("*/archive", Reply(302, b"moved", {} if location is None else {"Location": location}))
    with pytest.raises(tinkex.APIResponseValidationError):
        archive_url(transport, "run", "weights/x")


@pytest.mark.parametrize(
    ("location", "leads_to"),
    [
        ("https://store.test/a?signature=1", "https://store.test/a?signature=1"),
        ("/a", "{}/a"),
        ("b", "{}/api/v1/training_runs/run/checkpoints/weights/x/b"),
    ],
)
def test_a_redirect_is_the_link_and_is_not_followed(
    server: TinkerServer, location: str, leads_to: str
) -> None:
    server.on("*/archive", Reply(302, b"moved", {"Location": location}))
    transport = Transport(config(server))
    assert archive_url(transport, "run", "weights/x").url == leads_to.format(server.url)
    transport.close()
    assert [request.path for request in server.requests if request.method == "GET"] == [
        "/api/v1/training_runs/run/checkpoints/weights/x/archive"
    ]


def test_an_archive_being_made_keeps_the_servers_words(server: TinkerServer) -> None:
    transport = Transport(config(server))
    server.on("*/archive", Reply(503, {"detail": "come again"}))
    with pytest.raises(tinkex.InternalServerError, match="come again"):
        archive_url(transport, "run", "weights/x")
    transport.close()
