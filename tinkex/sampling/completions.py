"""One long poll for all samples of a sampling client, for servers that offer it (``/retrieve_futures``)."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from tinkex.api import futures as api
from tinkex.concurrency.at_fork import renew_after_fork
from tinkex.errors import APIConnectionError, APIResponseValidationError, TinkerError
from tinkex.polling.backoff import Backoff
from tinkex.session.session import AttachedSession

logger = logging.getLogger("tinkex")

CHECK_EVERY = 15.0
"""A waiting thread checks every so many seconds whether its sample is still wanted."""


class CompletionWatch:
    """Finds out by one poll which samples of a sampling client are done.

    The poll runs on the session's executor while a thread waits for a sample. If the poll fails for good, the
    waiting threads continue, and each of them polls for its own result.
    """

    def __init__(self, session: AttachedSession, sampling_session_id: str, clone_id: int) -> None:
        self._session = session
        self._sampling_session_id = sampling_session_id
        self._clone_id = clone_id
        self._failed = False
        self._polling = False
        self._cursor = 0
        self._after_fork()
        renew_after_fork(self)

    def wait_for(self, request_id: str, abandoned: Callable[[], bool]) -> None:
        """Block until ``request_id`` is done, ``abandoned()`` is true, or the poll has failed."""
        with self._lock:
            if self._failed or request_id in self._done:
                self._done.discard(request_id)
                return
            event = self._waiting[request_id] = threading.Event()
            start = not self._polling
            self._polling = True
        if start:
            self._session.executor.run_or_do(self._poll)
        try:
            while not event.wait(CHECK_EVERY) and not abandoned():
                pass
        finally:
            with self._lock:
                self._waiting.pop(request_id, None)

    def give_up(self, request_id: str) -> None:
        """Wake the thread that waits for ``request_id``, if there is one."""
        with self._lock:
            event = self._waiting.get(request_id)
        if event is not None:
            event.set()

    def retrieved(self, request_id: str) -> None:
        """Record that a result has been fetched. The next poll tells the server, which need not keep it."""
        with self._lock:
            self._retrieved.add(request_id)

    def _poll(self) -> None:
        try:
            self._poll_while_wanted()
        except Exception as error:
            if not isinstance(error, TinkerError):
                logger.exception("the poll for samples failed")
            with self._lock:
                self._failed = True
                waiting = list(self._waiting.values())
            for event in waiting:
                event.set()

    def _poll_while_wanted(self) -> None:
        transport = self._session.transport
        backoff = Backoff(transport, self._session.flags)
        while True:
            with self._lock:
                if not self._waiting:
                    self._polling = False
                    return
                retrieved, cursor = set(self._retrieved), self._cursor
            began = time.monotonic()
            try:
                answer = api.retrieve_many(
                    transport,
                    self._sampling_session_id,
                    self._clone_id,
                    cursor,
                    retrieved,
                    transport.config.poll_timeout,
                )
            except APIConnectionError as error:
                transport.wait(backoff.no_answer(error))
                continue
            except APIResponseValidationError as error:
                transport.wait(backoff.unreadable(error))
                continue
            if isinstance(answer, api.Busy):
                transport.wait(backoff.busy(answer.refusal))
                continue
            with self._lock:
                self._retrieved -= retrieved
                self._cursor = answer.cursor
                events = [self._waiting.pop(done, None) for done in answer.done]
                # A sample for which no thread waits yet is one whose submission has not returned.
                self._done.update(done for done, event in zip(answer.done, events) if event is None)
            for event in events:
                if event is not None:
                    event.set()
            if any(events) or answer.cursor != cursor:
                backoff.answered()
            else:  # nothing is new, even if the server names samples
                transport.wait(backoff.not_yet(time.monotonic() - began))

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, threading.Event] = {}
        self._done: set[str] = set()
        self._retrieved: set[str] = set()
        self._cursor = 0
        self._polling = False
