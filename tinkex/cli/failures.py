"""How commands fail: with one line on stderr that says what went wrong, and what to do about it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click

from tinkex.cli import INTERRUPTED, INTERRUPTED_STATUS
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
from tinkex.finetune.records import DataError

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
    """An error that is reported in one line on stderr, with exit status 1."""

    def __init__(self, message: str) -> None:
        super().__init__(plain(" ".join(message.split())))


class BadInput(CallFailed):
    """An error in the input of the user, reported in one line on stderr, with exit status 2."""

    exit_code = 2


class Interrupted(click.ClickException):
    """Ctrl-C, reported in one line on stderr, with the exit status that shells expect."""

    exit_code = INTERRUPTED_STATUS

    def __init__(self, message: str = INTERRUPTED) -> None:
        super().__init__(message)

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line."""
        click.echo(self.message, file=file, err=True)


@contextmanager
def one_line() -> Iterator[None]:
    """Turn expected errors into ``CallFailed`` or ``BadInput``. Other errors keep their traceback."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted from None
    except click.Abort as error:
        if not isinstance(error.__context__, KeyboardInterrupt):
            raise
        raise Interrupted from None
    except click.UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # a group without a command shows its help
            raise
        more = f"; see '{error.ctx.command_path} --help'" if error.ctx is not None else ""
        raise BadInput(error.format_message().rstrip(".") + more) from error
    except (DataError, InputError) as error:
        raise BadInput(str(error)) from error
    except TinkerError as error:
        raise CallFailed(explained(error)) from error
    except ModuleNotFoundError as error:
        if error.name != "tinkex.local":
            raise
        raise CallFailed(str(error)) from error
    except OSError as error:
        if error.errno == errno.EPIPE:  # the reader of a pipe has closed it; click then exits silently
            raise
        place = f": {error.filename}" if error.filename else ""
        raise CallFailed(f"{error.strerror or error}{place}") from error


def explained(error: TinkerError) -> str:
    """Return what went wrong, and what to do about it if that is known."""
    cure = next((cure for kind, cure in _CURES if isinstance(error, kind)), None)
    return str(error) if cure is None else f"{str(error).rstrip('.')}; {cure}"
