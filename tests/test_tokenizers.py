"""Tokenizers by model name, with the packages that are there."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import tinkex
from tinkex.testing import TinkerServer
from tinkex.tokenizers import load, tokenizer_id


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model's folder with the tokenizer of the single bytes; ``transformers`` is not there."""
    monkeypatch.setitem(sys.modules, "transformers", None)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<|end|>": 0, **{letter: at for at, letter in enumerate(alphabet, 1)}}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "<|end|>"}}))
    return tmp_path


def test_a_folder_is_read_without_transformers(folder: Path) -> None:
    tokenizer = load(str(folder))
    text = "Grüße, 世界"
    assert len(tokenizer.encode(text)) == len(text.encode())
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.eos_token_id == 0


def test_clients_find_the_tokenizer_of_their_model(server: TinkerServer, folder: Path) -> None:
    server.on(
        "/get_info",
        {"model_id": "m", "model_data": {"model_name": "mine", "tokenizer_id": f"{folder}:v1"}},
    )
    with tinkex.ServiceClient(base_url=server.url, api_key="tml-test") as service:
        training = service.create_lora_training_client("tinkex/byte-lm")
        assert training.get_tokenizer().decode(training.get_tokenizer().encode("hi")) == "hi"
        server.on("/create_sampling_session", {"sampling_session_id": "s"})
        server.on("/samplers/s", {"sampler_id": "s", "base_model": str(folder)})
        sampler = service.create_sampling_client(base_model=str(folder))
        assert sampler.get_tokenizer().encode("a") == training.get_tokenizer().encode("a")


def test_transformers_is_preferred_where_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import ModuleType

    asked: list[tuple[str, dict[str, object]]] = []

    class AutoTokenizer:
        @staticmethod
        def from_pretrained(name: str, **options: object) -> str:
            asked.append((name, options))
            return "theirs"

    transformers = ModuleType("transformers")
    transformers.AutoTokenizer = AutoTokenizer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "transformers", transformers)
    loaded: Any = load("moonshotai/Kimi-K2-Thinking:v2")
    assert loaded == "theirs"
    assert asked[0][0] == "moonshotai/Kimi-K2-Thinking"
    assert asked[0][1]["trust_remote_code"] is True


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
        ("Qwen/Qwen3-8B:peft:131072", "Qwen/Qwen3-8B"),
        ("Qwen/Qwen3-8B/variant", "Qwen/Qwen3-8B"),
        ("meta-llama/Llama-3.1-8B", "thinkingmachineslabinc/meta-llama-3-instruct-tokenizer"),
        ("moonshotai/Kimi-K2.5-Text-Only", "moonshotai/Kimi-K2.5"),
        ("/models/qwen", "/models/qwen"),
    ],
)
def test_names_follow_the_official_rules(model: str, expected: str) -> None:
    assert tokenizer_id(model) == expected


def test_without_any_package_the_error_names_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(tinkex.TinkerError, match="-m pip install 'tokenizers>="):
        load("Qwen/Qwen3-8B")


def test_a_tokenizer_that_is_nowhere_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(tinkex.TinkerError, match="no tokenizer"):
        load(str(tmp_path / "nothing"))


def test_the_embedded_model_has_its_own() -> None:
    tokenizer = load("tinkex/byte-lm")
    assert tokenizer.decode(tokenizer.encode("é")) == "é"
