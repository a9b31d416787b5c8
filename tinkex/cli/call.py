"""The options that all commands share, and the clients that are made from them."""

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
    """One use of a command: the server that it talks to, and the form of its output."""

    base_url: str | None
    as_json: bool

    def config(self, **settings: Any) -> Config:
        """Return a config of ``--base-url`` and ``settings``, and for the rest of the environment."""
        from tinkex import Config

        return Config.from_env(base_url=self.base_url, **settings)

    def rest(self) -> RestClient:
        """Return a ``RestClient``, to be used in a ``with`` block."""
        from tinkex import RestClient

        return RestClient(config=self.config())

    def service(self) -> ServiceClient:
        """Start a session and return its ``ServiceClient``, to be used in a ``with`` block."""
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
        command(Call(base_url, as_json=style == "json"), **values)

    return run


def server(command: Command) -> Command:
    """Give a command ``--base-url`` and ``--format``, and a ``Call`` as its first argument."""
    option = click.option(
        "--base-url", metavar="URL", help="The server. [default: $TINKER_BASE_URL, else the hosted service]"
    )
    return option(output(command))
