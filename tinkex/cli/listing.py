"""Collects the pages of a list, up to ``--limit``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from tinkex.cli.progress import progress

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
PAGE = 100


def limit_option(command: F) -> F:
    """Give a command the option ``--limit``."""
    option = click.option(
        "--limit",
        type=click.IntRange(0),
        default=20,
        show_default=True,
        help="The most to list; 0 for all.",
    )
    return option(command)


def collect(
    fetch: Callable[[int, int], tuple[Sequence[T], int | None]], limit: int, label: str
) -> tuple[list[T], int | None]:
    """Return the first ``limit`` items of a list, or all of them if it is 0, and the length of the list.

    ``fetch(limit, offset)`` returns a page and the length of the list. The length is None if the server does not
    tell it.
    """
    found: list[T] = []
    with progress(label) as update:
        while True:
            wanted = min(PAGE, limit - len(found)) if limit else PAGE
            page, total = fetch(wanted, len(found))
            found += page
            update(len(found), total if not limit or total is None else min(limit, total))
            last = len(page) < wanted if total is None else len(found) >= total
            if last or not page or len(found) == limit:
                return found, total
