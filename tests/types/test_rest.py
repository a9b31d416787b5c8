"""Checkpoints and their paths."""

from __future__ import annotations

from tinkex import types


def test_parsed_paths() -> None:
    parsed = types.ParsedCheckpointTinkerPath.from_tinker_path("tinker://a:train:0/sampler_weights/x")
    assert parsed == types.ParsedCheckpointTinkerPath(
        "tinker://a:train:0/sampler_weights/x", "a:train:0", "sampler", "sampler_weights/x"
    )
    assert (parsed.kind, parsed.name) == ("sampler_weights", "x")
