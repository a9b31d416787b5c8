"""How commands fail: in one line on stderr that says what went wrong and what helps."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import click

from tinkex.cli.dataset import DatasetError
from tinkex.cli.output import plain
from tinkex.errors import (
    APIConnectionError,
    AuthenticationError,
    InputError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    TinkerError,
)

_LOCAL_PACKAGES = ("numpy", "waitress", "safetensors", "threadpoolctl")
_KEY_CURE = "set TINKER_API_KEY, or run 'tinkex auth logout' and 'tinkex auth login'"
_CURES: tuple[tuple[type[TinkerError], str], ...] = (
    (AuthenticationError, _KEY_CURE),
    (PermissionDeniedError, _KEY_CURE),
    (NotFoundError, "the 'list' commands show what is there"),
    (RateLimitError, "try again later"),
    (InternalServerError, "try again later"),
    (APIConnectionError, "check --base-url or TINKER_BASE_URL"),
)


class CallFailed(click.ClickException):
    """One line on stderr, exit status 1."""

    def __init__(self, message: str) -> None:
        super().__init__(plain(" ".join(message.split())))


class BadInput(CallFailed):
    """One line on stderr, exit status 2."""

    exit_code = 2


@contextmanager
def one_line() -> Iterator[None]:
    """Turn what we expect to go wrong into ``CallFailed`` or ``BadInput``; the rest keeps its traceback."""
    try:
        yield
    except click.UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # a group by itself shows its help
            raise
        more = f"; see '{error.ctx.command_path} --help'" if error.ctx is not None else ""
        raise BadInput(error.format_message().rstrip(".") + more) from error
    except (DatasetError, InputError) as error:
        raise BadInput(str(error)) from error
    except TinkerError as error:
        raise CallFailed(explained(error)) from error
    except ModuleNotFoundError as error:
        if error.name not in _LOCAL_PACKAGES:
            raise
        cure = f"the embedded server needs {error.name}: pip install 'tinkex[local]', or give --base-url"
        raise CallFailed(cure) from error
    except OSError as error:
        if error.errno == errno.EPIPE:  # whoever read our output has seen enough; click ends quietly
            raise
        place = f": {error.filename}" if error.filename else ""
        raise CallFailed(f"{error.strerror or error}{place}") from error


def explained(error: TinkerError) -> str:
    """What went wrong, and the cure where one is known."""
    cure = next((cure for kind, cure in _CURES if isinstance(error, kind)), None)
    return str(error) if cure is None else f"{str(error).rstrip('.')}; {cure}"
