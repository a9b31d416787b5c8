"""The weak registry: what it returns, and what it does not keep alive."""

from __future__ import annotations

import gc
import sys
import threading
import weakref

from tinkex.concurrency.living import Living


class Item:
    """Something that can be referred to weakly."""


def test_objects_come_in_the_order_of_adding_and_each_once() -> None:
    registry: Living[Item] = Living()
    items = [Item() for _ in range(5)]
    for item in (*items, items[2]):
        registry.add(item)
    assert registry.all() == items


def test_an_object_that_nobody_else_uses_is_not_kept_alive() -> None:
    registry: Living[Item] = Living()
    kept, dropped = Item(), Item()
    registry.add(kept)
    registry.add(dropped)
    watch = weakref.ref(dropped)
    del dropped
    gc.collect()
    assert watch() is None
    assert registry.all() == [kept]


def test_a_discarded_object_is_forgotten_and_a_stranger_is_no_error() -> None:
    registry: Living[Item] = Living()
    stays, goes = Item(), Item()
    registry.add(stays)
    registry.add(goes)
    registry.discard(goes)
    registry.discard(Item())
    assert registry.all() == [stays]


def test_threads_may_add_and_drop_while_another_reads() -> None:
    registry: Living[Item] = Living()
    kept = [Item() for _ in range(50)]
    for item in kept:
        registry.add(item)
    errors: list[BaseException] = []
    done = threading.Event()

    def churn() -> None:
        try:
            while not done.is_set():
                batch = [Item() for _ in range(20)]
                for item in batch:
                    registry.add(item)
                for item in batch[::2]:
                    registry.discard(item)
        except BaseException as error:
            errors.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=churn) for _ in range(4)]
    try:
        for thread in threads:
            thread.start()
        for _ in range(300):
            assert registry.all()[: len(kept)] == kept
    finally:
        done.set()
        for thread in threads:
            thread.join(60)
        sys.setswitchinterval(before)
    assert not errors
