"""Names of files that would lead elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from file_server import PATH, fails, give_files

from tinkex import RestClient, UnsafeDownloadError
from tinkex.testing import TinkerServer


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../b", "", "a//b", "..", "C:\\x", "a\0b"])
def test_unsafe_names_of_files_are_refused(
    client: RestClient, server: TinkerServer, store: TinkerServer, tmp_path: Path, name: str
) -> None:
    give_files(server, store, ["fine", name])
    fails(client.download_checkpoint(PATH, tmp_path / "out"), UnsafeDownloadError, tmp_path)
    assert len(store.requests) == 0
