"""``tinkex serve``: runs the embedded server for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from tinkex.cli import call as calls
from tinkex.cli.failures import BadInput
from tinkex.cli.output import show
from tinkex.local import KEY_VARIABLE
from tinkex.local.foreground import serve_until_signalled


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 for a free one."
)
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keeps checkpoints. [default: they are kept in memory]",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME[=SIZE]",
    help="Also offer a model of this name, with a vocabulary of SIZE tokens; may be repeated. Without a size the "
    "model's tokenizer is loaded and says it.",
)
@click.option(
    "--strict",
    is_flag=True,
    help="For rehearsals: refuse what the hosted service refuses, and warn of likely mistakes.",
)
@click.option(
    "--api-key",
    envvar=KEY_VARIABLE,
    show_envvar=True,
    help="The key to ask for. [default: any will do] Given here, it can be seen in the list of processes.",
)
@click.option(
    "--allow-host",
    multiple=True,
    metavar="NAME",
    help="Also answer requests made to this host name; may be repeated. [default: localhost and the address of "
    "--host; with --host 0.0.0.0, any IP address]",
)
@calls.output
def serve(
    call: calls.Call,
    *,
    host: str,
    port: int,
    directory: Path | None,
    models: tuple[str, ...],
    strict: bool,
    api_key: str | None,
    allow_host: tuple[str, ...],
) -> None:
    """Run the embedded server until Ctrl-C or SIGTERM. Its URL is printed once it answers."""
    from tinkex.local import LocalServer

    try:
        server = LocalServer(
            directory,
            models=models,
            strict=strict,
            host=host,
            port=port,
            api_key=api_key or None,
            allowed_hosts=allow_host,
        )
    except ValueError as error:
        raise BadInput(str(error)) from error
    server.start()  # may load tokenizers, which Ctrl-C interrupts

    def announce() -> None:
        show(call, {"base_url": server.base_url}, f"Tinker server on {server.base_url}")

    serve_until_signalled(server, announce, strict=strict)
