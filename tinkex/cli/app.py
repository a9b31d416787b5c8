"""The command group, and how every command fails: one line that says what went wrong."""

from __future__ import annotations

from typing import Any

import click

from tinkex._version import __version__
from tinkex.cli.dataset import DatasetError
from tinkex.cli.quickstart import quickstart
from tinkex.errors import InputError, TinkerError


class CommandFailed(click.ClickException):
    """One line on stderr and an exit status: 1 for a failed call, 2 for bad input."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(" ".join(message.split()))
        self.exit_code = exit_code


class Commands(click.Group):
    """A group that turns our errors into ``CommandFailed``; what we did not expect keeps its traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (DatasetError, InputError) as error:
            raise CommandFailed(str(error), exit_code=2) from error
        except TinkerError as error:
            raise CommandFailed(str(error), exit_code=1) from error
        except ModuleNotFoundError as error:
            if error.name not in ("numpy", "flask", "waitress", "safetensors"):
                raise
            cure = f"the embedded server needs {error.name}: pip install 'tinkex[local]', or give --base-url"
            raise CommandFailed(cure, exit_code=1) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tinkex")
def cli() -> None:
    """Fine-tune and sample language models through the Tinker API."""


cli.add_command(quickstart)
