"""Every command against the embedded server: its output in both forms, its exit status, its errors."""

from __future__ import annotations

import io
import json
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from commands import KEY, Tinkex
from programs import Command, start_python
from servers import Reply, ScriptedServer

import tinkex
from tinkex.cli import app, progress
from tinkex.local import LocalServer


@dataclass(frozen=True)
class Held:
    """What a server holds: one run with three checkpoints, made in one session."""

    url: str
    session: str
    run: str
    state: str
    other: str
    sampler: str


@pytest.fixture(scope="module")
def filled() -> Iterator[LocalServer]:
    with LocalServer(api_key=KEY) as server:
        yield server


@pytest.fixture
def held(filled: LocalServer, monkeypatch: pytest.MonkeyPatch) -> Held:
    config = tinkex.Config(base_url=filled.base_url, api_key=KEY, telemetry=False)
    monkeypatch.setenv("TINKER_BASE_URL", filled.base_url)
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    service = tinkex.ServiceClient(
        config=config, display_name="Blue night", user_metadata={"team": "blue"}, project_id="p-1"
    )
    with service:
        training = service.create_lora_training_client("tinkex/byte-lm", rank=2, seed=0)
        state = training.save_state("one").result().path
        other = training.save_state("two").result().path
        sampler = training.save_weights_for_sampler("three").result().path
        assert state is not None
        assert other is not None
        assert sampler is not None
        return Held(filled.base_url, service.session_id, state.split("/")[2], state, other, sampler)


def test_checkpoint_list(tinkex_here: Tinkex, held: Held) -> None:
    listed = tinkex_here("checkpoint", "list", "--run-id", held.run, "--format", "json").json
    assert listed["run_id"] == held.run
    assert {found["tinker_path"] for found in listed["checkpoints"]} == {held.state, held.other, held.sampler}

    assert len(tinkex_here("-f", "json", "checkpoint", "list", "--limit", "2").json["checkpoints"]) == 2
    everything = tinkex_here("checkpoint", "list", "--limit", "0")
    assert everything.status == 0
    assert everything.err == ""
    heading, *rows = everything.out.splitlines()
    assert heading.split("\t")[:2] == ["checkpoint", "type"]
    assert held.state in [row.split("\t")[-1] for row in rows]


def test_lists_longer_than_a_page_come_whole(
    tinkex_here: Tinkex, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinkex.cli.listing.PAGE", 2)
    for limit, expected in (("0", 3), ("3", 3), ("2", 2), ("1", 1)):
        listed = tinkex_here("checkpoint", "list", "--limit", limit, "-f", "json").json["checkpoints"]
        paths = {found["tinker_path"] for found in listed}
        assert len(paths) == len(listed) >= expected
        assert limit == "0" or len(listed) == expected


def test_checkpoint_info(tinkex_here: Tinkex, held: Held) -> None:
    shown = tinkex_here("checkpoint", "info", held.state, "-f", "json").json
    assert shown["tinker_path"] == held.state
    assert shown["lora_rank"] == 2
    assert f"path\t{held.state}\n" in tinkex_here("checkpoint", "info", held.state).out
    tinkex_here("checkpoint", "info", held.state + "x").fails(1, held.state + "x", "checkpoint list")
    tinkex_here("checkpoint", "info", "tinker://nobody/weights/x").fails(1, "nobody", "'list'")
    tinkex_here("checkpoint", "info", "weights/one").fails(2, "tinker://run/weights/name")


def test_publishing_and_expiry(tinkex_here: Tinkex, held: Held) -> None:
    def state() -> Any:
        return tinkex_here("checkpoint", "info", held.state, "-f", "json").json

    done = tinkex_here("checkpoint", "publish", held.state, "-f", "json").json
    assert done == {"checkpoint_path": held.state, "public": True}
    assert state()["public"] is True
    assert "private" in tinkex_here("checkpoint", "unpublish", held.state).out
    assert state()["public"] is False

    done = tinkex_here("checkpoint", "set-ttl", held.state, "--ttl", "7200", "-f", "json").json
    assert done == {"checkpoint_path": held.state, "ttl_seconds": 7200}
    assert state()["expires_at"] is not None
    assert "does not expire" in tinkex_here("checkpoint", "set-ttl", held.state, "--remove").out
    assert state()["expires_at"] is None

    tinkex_here("checkpoint", "set-ttl", held.state).fails(2, "--ttl", "--remove")
    tinkex_here("checkpoint", "set-ttl", held.state, "--ttl", "9", "--remove").fails(2, "--ttl", "--remove")
    tinkex_here("checkpoint", "set-ttl", held.state, "--ttl", "0").fails(2, "--ttl")
    tinkex_here("checkpoint", "set-ttl", held.state, "--ttl", "9").fails(1, "ttl_seconds", "3600")


def test_download(tinkex_here: Tinkex, held: Held, tmp_path: Path) -> None:
    done = tinkex_here("checkpoint", "download", held.state, "-o", "sub", "-f", "json")
    folder = Path(done.json["destination"])
    assert done.err == ""
    assert folder.parent == Path("sub")
    assert folder.name.endswith("_weights_one")
    files = [file for file in folder.iterdir() if file.stat().st_size]
    assert {file.suffix for file in files} >= {".safetensors"}
    assert done.json["file_size_bytes"] == sum(file.stat().st_size for file in files)

    tinkex_here("checkpoint", "download", held.state, "-o", "sub").fails(2, str(folder), "--force")
    assert str(folder) in tinkex_here("checkpoint", "download", held.state, "-o", "sub", "--force").out
    tinkex_here("checkpoint", "download", held.state + "x").fails(1, "one")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sub"]


def test_download_through_an_export(
    tinkex_here: Tinkex, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that hands out training checkpoints only as exports: one is made, fetched and deleted."""
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    path, export, deleted = (
        "tinker://a/weights/b",
        "tinker://s/external_weights/download",
        "/training_runs/s/*",
    )
    kept = {"checkpoint_id": "weights/b", "checkpoint_type": "training", "tinker_path": path, "time": 0}
    server.on("/training_runs/a/checkpoints", {"checkpoints": [kept]})
    server.on("/save_weights_external", {"request_id": "saved"})
    server.on(
        "/retrieve_future",
        lambda request: {"path": export} if request.json()["request_id"] == "saved" else None,
    )
    links = {
        "urls": {"adapter.safetensors": f"{server.url}/files/adapter"},
        "expires": "2999-01-01T00:00:00Z",
    }
    server.on("/training_runs/s/checkpoints/external_weights/download/external_weights_urls", links)
    server.on("/files/adapter", Reply(200, b"weights"))
    server.on(deleted, Reply(204, b""))
    arguments = ("checkpoint", "download", path, "--base-url", server.url, "-f", "json")
    done = tinkex_here(*arguments).json
    assert Path(done["destination"], "adapter.safetensors").read_bytes() == b"weights"
    assert [request.method for request in server.requests.to(deleted)][-1] == "DELETE"

    server.on("/training_runs/a/checkpoints", {"checkpoints": []})
    tinkex_here(*arguments, "--force").fails(1, "404")


def test_deletion_asks_first(tinkex_here: Tinkex, held: Held) -> None:
    declined = tinkex_here("checkpoint", "delete", held.state, "-f", "json", stdin="n\n")
    assert declined.json == {"deleted_count": 0, "failed": []}
    assert held.state in declined.err
    silent = tinkex_here("checkpoint", "delete", held.state)
    assert (silent.status, silent.out) == (2, "")
    assert "--yes" in silent.err
    accepted = tinkex_here("checkpoint", "delete", held.state, "-f", "json", stdin="y\n")
    assert accepted.json == {"deleted_count": 1, "failed": []}
    tinkex_here("checkpoint", "info", held.state).fails(1, held.state)


def test_deletion_of_a_run_s_checkpoints(tinkex_here: Tinkex, held: Held) -> None:
    run = ("checkpoint", "delete", "--yes", "-f", "json", "--run-id", held.run)
    assert tinkex_here(*run, "--before", "2020-01-01").json["deleted_count"] == 0
    assert tinkex_here(*run, "--after", "2999-01-01T00:00:00Z").json["deleted_count"] == 0
    assert tinkex_here(*run, "--type", "sampler_weights", "--after", "2020-01-01").json["deleted_count"] == 1
    assert tinkex_here(*run).json["deleted_count"] == 2


def test_deletion_that_fails_says_which(tinkex_here: Tinkex, held: Held) -> None:
    missing = held.state + "x"
    failed = tinkex_here("checkpoint", "delete", "-y", held.state, missing, "-f", "json")
    failed.fails(1, missing)
    assert failed.json["deleted_count"] == 1
    assert [problem["tinker_path"] for problem in failed.json["failed"]] == [missing]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "--run-id"),
        (["tinker://a/weights/b", "--run-id", "a"], "--run-id"),
        (["tinker://a/weights/b", "--type", "weights"], "--run-id"),
        (["--run-id", "a", "--type", "heavy"], "heavy"),
        (["--run-id", "a", "--before", "yesterday"], "yesterday"),
        (["weights/b"], "tinker://"),
    ],
)
def test_deletion_badly_asked_for(tinkex_here: Tinkex, held: Held, arguments: list[str], word: str) -> None:
    tinkex_here("checkpoint", "delete", *arguments).fails(2, word)


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


def test_session(tinkex_here: Tinkex, held: Held) -> None:
    assert held.session in tinkex_here("session", "list", "-f", "json").json["sessions"]
    assert held.session in tinkex_here("session", "list").out.splitlines()
    shown = tinkex_here("session", "info", held.session, "-f", "json").json
    assert shown["training_run_ids"] == [held.run]
    assert "metadata team\tblue\n" in tinkex_here("session", "info", held.session).out
    tinkex_here("session", "info", "nobody").fails(1, "nobody")


def test_session_search(tinkex_here: Tinkex, held: Held) -> None:
    def found(*arguments: str) -> list[str]:
        answer = tinkex_here("session", "search", "-f", "json", "--limit", "0", *arguments).json
        return [session["session_id"] for session in answer["sessions"]]

    assert held.session in found("night", "BLUE")
    assert held.session in found("--metadata", "team=blue", "--project", "p-1", "--status", "success")
    assert found("--id", held.session) == [held.session]
    assert found("--metadata", "team=red") == []
    assert found("red") == []
    assert held.session in tinkex_here("session", "search", "--limit", "0").out
    tinkex_here("session", "search", "--metadata", "blue").fails(2, "NAME=VALUE")


def test_model(tinkex_here: Tinkex, held: Held) -> None:
    models = tinkex_here("model", "list", "BYTE", "-f", "json").json["models"]
    assert [model["model_name"] for model in models] == ["tinkex/byte-lm"]
    assert "tinkex/byte-lm\t" in tinkex_here("model", "list").out
    tinkex_here("model", "list", "llama").fails(1, "llama", "tinkex model list")


def test_sample(tinkex_here: Tinkex, held: Held, tmp_path: Path) -> None:
    one = tinkex_here("sample", "Hi", "--max-tokens", "3", "--seed", "1", "-f", "json").json
    assert one["model"] == "tinkex/byte-lm"
    assert [len(sample["tokens"]) for sample in one["samples"]] == [3]
    text = tinkex_here("sample", "Hi", "--max-tokens", "3", "--seed", "1").out
    assert text == one["samples"][0]["text"] + "\n"

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


def test_a_wrong_key_and_a_wrong_place(
    tinkex_here: Tinkex, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    tinkex_here("run", "list", "--base-url", "http://127.0.0.1:9").fails(1, "127.0.0.1:9", "--base-url")
    tinkex_here("run", "list", "--base-url", "nonsense").fails(2, "nonsense")
    monkeypatch.setenv("TINKER_API_KEY", "tml-wrong")
    refused = tinkex_here("run", "list")
    refused.fails(1, "401", "TINKER_API_KEY")
    assert "tml-wrong" not in refused.err
    monkeypatch.delenv("TINKER_API_KEY")
    tinkex_here("run", "list").fails(2, "no API key", "tinkex auth login")


def test_what_a_server_says_cannot_act_on_the_terminal(
    tinkex_here: Tinkex, server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINKER_API_KEY", KEY)
    monkeypatch.setenv("TINKER_BASE_URL", server.url)
    server.on("/get_server_capabilities", {"supported_models": [{"model_name": "red\x1b[31m"}]})
    assert "red\\x1b[31m" in tinkex_here("model", "list").out
    server.on("/get_server_capabilities", Reply(400, {"detail": "no\x1b[31m\nway"}))
    tinkex_here("model", "list").fails(1, "no\\x1b[31m way")


def test_completion_by_the_shell(run_python: Command) -> None:
    code = "import sys; sys.argv = ['tinkex']; from tinkex.cli import main; main()"

    def offered(words: str) -> list[str]:
        asked = {
            "_TINKEX_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")),
        }
        lines = run_python("-c", code, **asked).stdout.split()
        return [line.partition(",")[2] for line in lines]

    assert offered("tinkex che") == ["checkpoint"]
    assert offered("tinkex checkpoint de") == ["delete"]
    assert "_tinkex_completion" in run_python("-c", code, _TINKEX_COMPLETE="zsh_source").stdout


def test_version_and_help(tinkex_here: Tinkex) -> None:
    assert tinkex_here("version", "--format", "json").json == {"version": tinkex.__version__}
    assert tinkex_here("version").out == f"tinkex {tinkex.__version__}\n"
    text = tinkex_here("--help").out
    assert "_TINKEX_COMPLETE=zsh_source" in text
    tinkex_here("run", "--colour").fails(2, "--colour", "tinkex run --help")


def test_the_list_of_commands_says_what_they_say() -> None:
    context = click.Context(app.cli)
    for name, summary in app.COMMANDS.items():
        command = app.cli.get_command(context, name)
        assert command is not None
        assert command.get_short_help_str(200).rstrip(".") == summary.rstrip(".")


def test_help_loads_no_more_than_it_needs(run_python: Command) -> None:
    run = run_python(
        "-c",
        "import sys\nfrom tinkex.cli.app import cli\ncli(['--help'], standalone_mode=False)\n"
        "print(sorted({'rich', 'numpy', 'flask', 'tinkex.cli.quickstart'} & set(sys.modules)))",
    )
    assert run.stdout.splitlines()[-1] == "[]", run.stderr


def test_serve(tinkex_here: Tinkex, tmp_path: Path) -> None:
    where = ("--port", "0", "--directory", str(tmp_path / "kept"))
    serving = start_python("-m", "tinkex.cli", "serve", *where, "--api-key", KEY, "--format", "json")
    try:
        assert serving.stdout is not None
        printed = "".join(iter(serving.stdout.readline, "}\n")) + "}"
        url = json.loads(printed)["base_url"]
        config = tinkex.Config(base_url=url, api_key=KEY, telemetry=False)
        with tinkex.RestClient(config=config) as client:
            assert client.get_server_capabilities().result(60).supported_models
        tinkex_here("serve", "--port", url.rpartition(":")[2]).fails(1, "--port")
    finally:
        serving.send_signal(signal.SIGTERM)
        rest, errors = serving.communicate(timeout=60)
    assert (serving.returncode, rest, errors) == (0, "", "")


def test_a_reader_that_has_seen_enough(held: Held, tmp_path: Path) -> None:
    writing = start_python("-m", "tinkex.cli", "checkpoint", "list", cwd=tmp_path)
    assert writing.stdout is not None
    assert writing.stderr is not None
    writing.stdout.close()
    assert writing.stderr.read() == ""
    writing.stderr.close()
    assert writing.wait(60) == 1


class Terminal(io.StringIO):
    """A stream that says it is a terminal, and when something was written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.written.set()
        return super().write(text)


def test_a_bar_shows_on_a_terminal_once_the_work_takes_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress.progress("quick work") as update:
        update(1, 2)
    assert terminal.getvalue() == ""

    monkeypatch.setattr(progress, "SHOW_AFTER", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    with progress.progress("long work") as update:
        update(1, 2)
        assert terminal.written.wait(60)
        click.echo("the output")
        update(2, 2)
    assert "long work" in terminal.getvalue()
    assert "the output" not in terminal.getvalue()
    assert capsys.readouterr().out == "the output\n"


@pytest.mark.parametrize("command", [["model", "list", "--base-url", "local://"], ["serve"], ["quickstart"]])
def test_a_missing_package_of_the_embedded_server_is_named_with_its_extra(
    tinkex_here: Tinkex, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    tinkex_here(*command).fails(1, "numpy", "pip install 'tinkex[local]'")
