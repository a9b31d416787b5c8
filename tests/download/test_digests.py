"""Files are checked against what their server says of them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

import pytest
from file_server import DATA, PATH, Store, fails, give_files

import tinkex
from tinkex import RestClient
from tinkex.testing import TinkerServer


@pytest.mark.parametrize(
    "headers",
    [
        {"Content_MD5": base64.b64encode(b"x" * 16).decode()},
        {"x_goog_hash": "crc32c=AAAAAA==,md5=" + base64.b64encode(b"x" * 16).decode()},
        {"x_amz_checksum_sha256": base64.b64encode(b"x" * 32).decode()},
        {"Digest": "sha-256=" + base64.b64encode(b"x" * 32).decode()},
        {"Content_Encoding": "gzip"},
    ],
)
def test_what_does_not_match_its_digest_is_not_kept(
    client: RestClient,
    server: TinkerServer,
    store: TinkerServer,
    tmp_path: Path,
    headers: Mapping[str, str],
) -> None:
    give_files(server, store, ["a"])
    store.on("/0", Store(DATA, 0, True, **headers))
    future = client.download_checkpoint(PATH, tmp_path / "out")
    fails(future, tinkex.APIResponseValidationError, tmp_path)
