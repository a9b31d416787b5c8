"""The command group ``tinkex``. Each command is imported only when it is used, so that help appears quickly."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from tinkex._version import __version__
from tinkex.cli.failures import one_line

COMMANDS = {
    "quickstart": "Fine-tune a model on PATH and show its answer to a prompt before and after.",
    "train": "Fine-tune a model on DATA: JSON lines, JSON arrays, CSV or Parquet; - is standard input.",
    "sample": "Continue PROMPT, or the prompts of a file.",
    "model": "The models on offer.",
    "run": "Training runs.",
    "checkpoint": "Saved checkpoints.",
    "session": "Sessions.",
    "billing": "Usage, and what it costs.",
    "auth": "The API key.",
    "serve": "Run the embedded server until Ctrl-C or SIGTERM.",
    "version": "The version of Tinkex.",
}
"""The first line of the help of each command. The command ``name`` is ``tinkex.cli.<name>.<name>``."""

_EPILOG = """\b
The server is --base-url, else TINKER_BASE_URL, else the hosted service; the API key
is TINKER_API_KEY, else what TINKER_CREDENTIAL_CMD prints, else the stored login.
Exit status: 0, 1 for a failed call, 2 for bad usage, 130 after Ctrl-C.

\b
Completion of commands and options by the shell:
  bash  eval "$(_TINKEX_COMPLETE=bash_source tinkex)"            in ~/.bashrc
  zsh   eval "$(_TINKEX_COMPLETE=zsh_source tinkex)"             in ~/.zshrc
  fish  _TINKEX_COMPLETE=fish_source tinkex | source             in ~/.config/fish/config.fish
"""


class Commands(click.Group):
    """A group that imports its commands when they are used, and reports expected errors in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command and return it, or None if there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"tinkex.cli.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Parse the arguments."""
        with one_line():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with one_line():
            return super().invoke(ctx)


@click.group(cls=Commands, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--format",
    "-f",
    "style",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="Of the output; also an option of every command.",
)
@click.version_option(__version__, prog_name="tinkex")
def cli(style: str) -> None:
    """Fine-tune and sample language models through the Tinker API."""
