"""What all commands that talk to a server share: their options, and the clients those lead to."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tinkex import Config, RestClient, ServiceClient

Command = Callable[..., None]


@dataclass(frozen=True)
class Call:
    """One use of a command: the server it is for, and the form of its output."""

    base_url: str | None
    as_json: bool

    def config(self, **settings: Any) -> Config:
        """The settings, with what the environment says for the rest."""
        from tinkex import Config

        return Config.from_env(base_url=self.base_url, **settings)

    def rest(self) -> RestClient:
        """A client of runs, checkpoints and sessions; a context manager."""
        from tinkex import RestClient

        return RestClient(config=self.config())

    def service(self) -> ServiceClient:
        """A session of one's own; a context manager."""
        from tinkex import ServiceClient

        return ServiceClient(config=self.config())


def output(command: Command) -> Command:
    """Give a command ``--format``, and a ``Call`` as its first argument."""

    @click.option(
        "--format",
        "-f",
        "style",
        type=click.Choice(["table", "json"]),
        help="Of the output. [default: table]",
    )
    @functools.wraps(command)
    def run(style: str | None, base_url: str | None = None, **values: Any) -> None:
        style = style or click.get_current_context().find_root().params.get("style")
        command(Call(base_url, style == "json"), **values)

    return run


def server(command: Command) -> Command:
    """The same with ``--base-url``."""
    option = click.option(
        "--base-url", metavar="URL", help="The server. [default: $TINKER_BASE_URL, else the hosted service]"
    )
    return option(output(command))
