"""Damaged archives, odd headers and odd links: a download succeeds or fails with a typed error."""

from __future__ import annotations

import io
import tarfile
import tempfile
from pathlib import Path
from random import Random

import pytest
from file_server import DATA, PATH, give_files, tar
from hypothesis import given, settings
from hypothesis import strategies as st

import tinkex
from tinkex import RestClient
from tinkex.config import Config
from tinkex.download.archives import unpack
from tinkex.download.paths import UnsafeDownloadError, inside
from tinkex.testing import Reply, TinkerServer

ARCHIVES = [
    tar(("a", b"x" * 700), ("b/c", b"y")),
    tar(("a", b"x" * 700), ("b/c", b"y"), packed=True),
    tar(("long/" * 40 + "name", b"z"), pax_headers={"comment": "x"}),
]


def sparse() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        entry = tarfile.TarInfo("s")
        entry.type = tarfile.GNUTYPE_SPARSE
        archive.addfile(entry)
    return buffer.getvalue()


@pytest.mark.parametrize("archive", [*ARCHIVES, sparse()])
def test_damaged_archives(archive: bytes, tmp_path: Path) -> None:
    random = Random(7)
    refused = 0
    for number in range(400):
        mutant = bytearray(archive)
        for _ in range(random.randint(1, 6)):
            # Mostly in the headers, of which the first begins the archive.
            at = random.randrange(min(len(mutant), random.choice((512, len(mutant)))))
            mutant[at : at + random.choice((0, 1, 1, 1, 8))] = random.randbytes(
                random.choice((0, 1, 1, 1, 8))
            )
        file, target = tmp_path / "archive", tmp_path / str(number)
        file.write_bytes(mutant)
        target.mkdir()
        try:
            unpack(file, target, 1 << 20)
        except UnsafeDownloadError:
            refused += 1
    assert refused > 10


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=20)
    | st.lists(st.sampled_from(["a", "..", ".", "", "x" * 255, "y" * 256, "\ud800"])).map("/".join)
)
def test_any_name_is_inside_or_refused(name: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        try:
            path = inside(Path(directory), name)
        except UnsafeDownloadError:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
        assert Path(directory) in path.resolve().parents


ODD_ANSWERS = {
    "204": Reply(204, b""),
    "304": Reply(304, b""),
    "203": Reply(203, b"x"),
    "206 without a range": Reply(206, b"x"),
    "206 with an odd range": Reply(206, b"x", {"Content-Range": f"bytes 0-0/{'9' * 5000}"}),
    "206 of other digits": Reply(206, b"x", {"Content-Range": "bytes ²-³/¹"}),
    "an encoding": Reply(200, b"x", {"Content-Encoding": "gzip"}),
    "a digest of other letters": Reply(200, b"x", {"Content-MD5": "äöü", "Digest": "md5=²"}),
    "a wrong digest": Reply(200, b"x", {"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}),
    "a far wait": Reply(503, b"", {"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}),
    "a long wait": Reply(429, b"", {"Retry-After": "86000"}),
    "a redirect to nowhere": Reply(302, b"", {"Location": "http://["}),
    "a redirect to a file": Reply(302, b"", {"Location": "file:///etc/passwd"}),
    "a circle": Reply(302, b"", {"Location": "/0?signature=1"}),
    "no redirect": Reply(302, b""),
    "chunks of no size": Reply(200, b"-1\r\nx", {"Transfer-Encoding": "chunked", "Connection": "close"}),
    "a refusal of no size": Reply(403, b"-5\r\nx", {"Transfer-Encoding": "chunked", "Connection": "close"}),
}


@pytest.mark.parametrize("answer", ODD_ANSWERS.values(), ids=ODD_ANSWERS)
def test_an_odd_answer_ends_a_download_soon(
    server: TinkerServer, store: TinkerServer, tmp_path: Path, answer: Reply
) -> None:
    give_files(server, store, ["a"])
    store.on("/0", answer)
    settings = Config(
        base_url=server.url,
        api_key="tml-test",
        max_tries=3,
        max_wait=0.05,
        retry_delay=0.001,
        retry_delay_max=0.01,
    )
    with RestClient(config=settings) as client:
        future = client.download_checkpoint(PATH, tmp_path / "out")
        if (
            answer.status == 200
            and "Content-MD5" in answer.headers
            and not answer.headers["Content-MD5"].isascii()
        ):
            future.result(60)
            assert (tmp_path / "out" / "a").read_bytes() == b"x"
            return
        with pytest.raises(tinkex.TinkerError) as caught:
            future.result(60)
    behind: list[BaseException] = [caught.value]
    for error in behind:
        assert "signature" not in repr(error)
        behind += [one for one in (error.__cause__, error.__context__) if one is not None]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "ftp://x/y",
        "file:///etc/passwd",
        "http://",
        "http://[",
        "http://\ufeff/",
        "//x",
    ],
)
def test_a_link_that_leads_nowhere_is_not_tried_again(
    server: TinkerServer, client: RestClient, tmp_path: Path, url: str
) -> None:
    server.on("*/external_weights_urls", {"urls": {"a": url}, "expires": "2099-01-01T00:00:00Z"})
    with pytest.raises(tinkex.APIConnectionError, match="leads nowhere"):
        client.download_checkpoint(PATH, tmp_path / "out").result(60)


def test_the_wait_for_an_archive_is_bounded(
    server: TinkerServer, store: TinkerServer, tmp_path: Path
) -> None:
    busy = Reply(503, {}, {"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"})
    server.once("*/archive", busy, busy, Reply(302, b"", {"Location": f"{store.url}/0"}))
    store.on("/0", Reply(200, tar(("a", DATA))))
    settings = Config(base_url=server.url, api_key="tml-test", max_wait=0.05)
    with RestClient(config=settings) as client:
        client.download_checkpoint(PATH, tmp_path / "out").result(60)
    assert (tmp_path / "out" / "a").read_bytes() == DATA
