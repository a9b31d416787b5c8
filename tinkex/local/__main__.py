"""``python -m tinkex.local``: serve until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from tinkex.local import KEY_VARIABLE
from tinkex.local.foreground import serve_until_signalled


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve as ``arguments`` say, by default the command line's; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        from tinkex.local import LocalServer

        server = LocalServer(
            options.directory,
            models=options.model,
            strict=options.strict,
            host=options.host,
            port=options.port,
            api_key=options.api_key or os.environ.get(KEY_VARIABLE) or None,
            allowed_hosts=options.allow_host,
        )
    except (ModuleNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1 if isinstance(error, ModuleNotFoundError) else 2
    try:
        server.start()  # may load tokenizers, which Ctrl-C interrupts
    except ValueError as error:  # the tokenizer of a model cannot be loaded
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(error.strerror, file=sys.stderr)
        return 1

    def announce() -> None:
        print(f"Tinker server on {server.base_url}", flush=True)

    serve_until_signalled(server, announce, strict=options.strict)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tinkex.local",
        description="Serve a small trainable language model by the Tinker protocol.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="0 picks a free one (default: %(default)s)")
    parser.add_argument("--directory", help="keep checkpoints here (default: in memory)")
    parser.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="NAME[=SIZE]",
        help="also offer a model of this name, with a vocabulary of SIZE tokens; may be repeated. Without a size the "
        "model's tokenizer is loaded and says it",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="for rehearsals: refuse what the hosted service refuses, and warn of likely mistakes",
    )
    parser.add_argument(
        "--api-key",
        help="ask clients for this key (default: take any). Other users of this machine can see it in the list of "
        f"processes; they cannot if it is set in the environment, as {KEY_VARIABLE}",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="also answer requests made to this host name; may be repeated. Without it, requests must be made to "
        "localhost or to the address of --host; with --host 0.0.0.0, to any IP address",
    )
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("Interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
