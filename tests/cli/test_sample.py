"""One sample: ``tinkex sample``."""

from __future__ import annotations

from pathlib import Path

from commands import Held, Tinkex


def test_sample(tinkex_here: Tinkex, held: Held, tmp_path: Path) -> None:
    one = tinkex_here("sample", "Hi", "--max-tokens", "3", "--seed", "1", "-f", "json").json
    assert one["model"] == "tinkex/byte-lm"
    assert [len(sample["tokens"]) for sample in one["samples"]] == [3]
    assert one["usage"] == {
        "tinkex/byte-lm": {"prefill": 2, "cached": 0, "sample": 3, "train": 0, "forward": 0}
    }
    printed = tinkex_here("sample", "Hi", "--max-tokens", "3", "--seed", "1")
    assert printed.out == one["samples"][0]["text"] + "\n"
    assert printed.err == "tokens: tinkex/byte-lm: 2 prefilled, 3 sampled, 0 trained\n"

    (tmp_path / "prompts.jsonl").write_text('{"prompt": "Hi"}\n\n{"prompt": "Ho"}\n', encoding="utf-8")
    options = ("--max-tokens", "3", "--seed", "1", "-n", "2", "--model", held.sampler)
    several = tinkex_here("sample", "--file", "prompts.jsonl", *options, "-f", "json").json["samples"]
    assert [(s["prompt_index"], s["sample_index"]) for s in several] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert several[0]["tokens"] != several[1]["tokens"]
    streamed = tinkex_here("sample", "--file", "prompts.jsonl", *options).out
    assert streamed.count("--- prompt") == 4
    assert tinkex_here("sample", "-i", "-", "--max-tokens", "1", stdin="Hi").status == 0


def test_sample_badly_asked_for(tinkex_here: Tinkex, held: Held, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"prompt": 1}\n', encoding="utf-8")
    (tmp_path / "latin.txt").write_bytes(b"\xff\xfe")
    tinkex_here("sample").fails(2, "--file")
    tinkex_here("sample", "").fails(2, "empty")
    tinkex_here("sample", "--file", "bad.jsonl").fails(2, "line 1")
    tinkex_here("sample", "--file", "latin.txt").fails(2, "UTF-8")
    tinkex_here("sample", "--file", "none.txt").fails(2, "none.txt")
    tinkex_here("sample", "Hi", "--max-tokens", "0").fails(2, "--max-tokens")
    tinkex_here("sample", "Hi", "--model", "no/such").fails(1, "no/such")
    tinkex_here("sample", "Hi", "--model", "tinker://a/sampler_weights/b").fails(1, "tinker://a")
