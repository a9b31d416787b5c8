"""`python -m tinkex.local`: serve until Ctrl-C or SIGTERM."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence

from tinkex.local import LocalServer


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tinkex.local",
        description="Serve a small trainable language model by the Tinker protocol.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="0 picks a free one (default: %(default)s)")
    parser.add_argument("--directory", help="keep checkpoints here (default: in memory)")
    parser.add_argument("--api-key", help="ask for this key (default: take any)")
    options = parser.parse_args(arguments)
    server = LocalServer(options.directory, host=options.host, port=options.port, api_key=options.api_key)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        server.start()
    except OSError as error:
        print(f"cannot serve on {options.host}:{options.port}: {error}", file=sys.stderr)
        return 1
    print(f"Tinker server on {server.base_url}", flush=True)
    # Short waits: on Windows a plain wait would not see Ctrl-C.
    while not ended.wait(0.5):
        pass
    server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
