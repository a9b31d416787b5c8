"""Training runs: ``tinkex run``."""

from __future__ import annotations

from commands import Held, Tinkex


def test_run(tinkex_here: Tinkex, held: Held) -> None:
    listed = tinkex_here("run", "list", "-f", "json", "--limit", "0").json["runs"]
    assert held.run in [run["training_run_id"] for run in listed]
    table = tinkex_here("run", "list", "-c", "id, lora", "--limit", "0").out.splitlines()
    assert table[0] == "run\tLoRA"
    assert f"{held.run}\trank 2" in table
    tinkex_here("run", "list", "-c", "id,colour").fails(2, "colour", "checkpoint_time")
    tinkex_here("run", "list", "--limit", "-1").fails(2, "--limit")

    shown = tinkex_here("run", "info", held.run, "-f", "json").json
    assert shown["last_sampler_checkpoint"]["tinker_path"] == held.sampler
    assert f"last checkpoint\t{held.other}\n" in tinkex_here("run", "info", held.run).out
    tinkex_here("run", "info", "nobody").fails(1, "nobody", "'list'")
    tinkex_here("run", "info").fails(2, "RUN_ID", "tinkex run info --help")
