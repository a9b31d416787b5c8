"""The training loops of ``tinker-cookbook``, which import ``tinker``, on Tinkex and its embedded server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import tinkex
from tinkex.local import LocalServer
from tinkex.local.byte_tokenizer import ByteTokenizer

# The cookbook imports ``tinker`` when pytest imports the tests beside this file.
tinkex.install_as_tinker()

from tinker_cookbook.tokenizer_utils import register_tokenizer  # noqa: E402


class ChatTokenizer(ByteTokenizer):
    """The tokenizer of the embedded model, with the mark of a beginning that the renderers ask for: none."""

    bos_token = ""


register_tokenizer("tinkex/byte-lm", ChatTokenizer)


@pytest.fixture(scope="session")
def base_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server that keeps its checkpoints, so that loops can be resumed."""
    with LocalServer(tmp_path_factory.mktemp("checkpoints")) as server:
        yield server.base_url


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINKER_API_KEY", "tml-cookbook")
    monkeypatch.setenv("TINKER_TELEMETRY", "0")
