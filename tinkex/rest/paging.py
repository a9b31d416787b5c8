"""Iteration over lists that come in pages."""

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
    """Yield the items of all pages. While the caller reads one page, the next is being fetched.

    ``fetch(offset)`` starts a request. Each item is yielded once, even if the list grows or shrinks at its front
    meanwhile; ``key`` identifies an item. The iteration ends with the last item according to ``total``, or with
    a page without new items.
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
