"""The command group, and how every command fails: one line that says what went wrong."""

from __future__ import annotations

from typing import Any

import click

from tinkex._version import __version__
from tinkex.cli.dataset import DatasetError
from tinkex.cli.quickstart import quickstart
from tinkex.errors import InputError, TinkerError


class CallFailed(click.ClickException):
    """One line on stderr, exit status 1."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class BadInput(CallFailed):
    """One line on stderr, exit status 2."""

    exit_code = 2


class Commands(click.Group):
    """A group that turns our errors into one line; what we did not expect keeps its traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (DatasetError, InputError) as error:
            raise BadInput(str(error)) from error
        except TinkerError as error:
            raise CallFailed(str(error)) from error
        except ModuleNotFoundError as error:
            if error.name not in ("numpy", "flask", "waitress", "safetensors"):
                raise
            cure = f"the embedded server needs {error.name}: pip install 'tinkex[local]', or give --base-url"
            raise CallFailed(cure) from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tinkex")
def cli() -> None:
    """Fine-tune and sample language models through the Tinker API."""


cli.add_command(quickstart)
