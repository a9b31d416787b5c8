"""Lists that come in pages, as plain iterators."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TypeVar

from tinkex.concurrency.futures import APIFuture

Page = TypeVar("Page")
Item = TypeVar("Item")


def iterate(
    fetch: Callable[[int], APIFuture[Page]],
    items: Callable[[Page], Sequence[Item]],
    key: Callable[[Item], Hashable],
    total: Callable[[Page], int | None] = lambda page: None,
) -> Iterator[Item]:
    """The items of all pages; while one page is read the next is on its way.

    ``fetch(offset)`` starts a request. Each item comes once, though the list may grow or shrink at its front
    meanwhile; ``total`` of a page, where the server gives it, or a page with nothing new ends the iteration.
    """
    seen: set[Hashable] = set()
    offset = 0
    coming: APIFuture[Page] | None = fetch(0)
    try:
        while coming is not None:
            page = coming.result()
            found = items(page)
            fresh = [item for item in found if key(item) not in seen]
            seen.update(map(key, fresh))
            offset += len(found)
            count = total(page)
            more = bool(fresh) and (count is None or offset < count)
            coming = fetch(offset) if more else None
            yield from fresh
    finally:
        if coming is not None:
            coming.cancel()
