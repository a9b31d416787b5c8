"""The program as a whole: its version, its help, and completion by the shell."""

from __future__ import annotations

import click
from commands import Tinkex
from programs import Command

import tinkex
from tinkex.cli import app


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
