"""Names of saved models: commands find what ``train`` and ``quickstart`` saved, here and on servers."""

from __future__ import annotations

import pytest
from commands import KEY, Held, Tinkex

from tinkex.local import LocalServer


def test_quickstart_keeps_what_it_learned(tinkex_here: Tinkex, monkeypatch: pytest.MonkeyPatch) -> None:
    learned = tinkex_here("quickstart", "--steps", "3", "--save", "first")
    assert learned.status == 0, learned
    assert "tinkex sample --checkpoint first" in learned.out
    one = tinkex_here("sample", "Hi", "--checkpoint", "first", "--max-tokens", "4", "--temperature", "0")
    assert one.status == 0, one
    assert tinkex_here("checkpoint", "download", "first", "--output", "models").status == 0
    # A local model is found even where another server is named, which does not have it.
    with LocalServer(api_key=KEY) as server:
        monkeypatch.setenv("TINKER_BASE_URL", server.base_url)
        monkeypatch.setenv("TINKER_API_KEY", KEY)
        again = tinkex_here(
            "sample", "Hi", "--checkpoint", "first", "--max-tokens", "4", "--temperature", "0"
        )
        assert again.out == one.out
    tinkex_here("quickstart", "--save", "a/b").fails(2, "a name has letters")


def test_names_are_looked_up_on_the_server(tinkex_here: Tinkex, held: Held) -> None:
    found = tinkex_here("sample", "Hi", "--checkpoint", "three", "--max-tokens", "1", "-f", "json").json
    assert found["model"] == held.sampler or found["model"].endswith("sampler_weights/three")
    tinkex_here("sample", "Hi", "--checkpoint", "nothing").fails(
        1, "no checkpoint 'nothing'", "checkpoint list"
    )
    tinkex_here("checkpoint", "download", "nothing").fails(1, "no checkpoint 'nothing'")
    assert tinkex_here("sample", "Hi", "--checkpoint", held.sampler, "--max-tokens", "1").status == 0
    tinkex_here("sample", "Hi", "--checkpoint", "a", "--model", "b").fails(2, "--model or --checkpoint")


def test_any_model_can_be_sent_a_chat(tinkex_here: Tinkex, held: Held) -> None:
    options = ("--max-tokens", "3", "--temperature", "0", "--model", held.sampler)
    chat = tinkex_here("sample", "Hi", *options, "--chat")
    assert chat.out == tinkex_here("sample", "User: Hi\nAssistant:", *options).out
