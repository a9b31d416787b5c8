"""Credentials: a fixed key, a command that prints one, and the short-lived JWT a server may want instead."""

from __future__ import annotations

import base64
import json
import random
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from tinkex.errors import ConfigError

COMMAND_TIMEOUT = 30.0
EXPIRY_MARGIN = 60.0
"""Seconds before its end at which a JWT is no longer used."""


class Credential(Protocol):
    """What goes into the ``X-API-Key`` header."""

    def get(self) -> str:
        """The present value."""

    def renew(self, refused: str) -> bool:
        """Whether there is another value than the one that was ``refused``."""


class FixedKey:
    """An API key that never changes."""

    def __init__(self, key: str) -> None:
        self._key = key

    def get(self) -> str:
        return self._key

    def renew(self, refused: str) -> bool:
        return False


class RenewedCredential:
    """A credential fetched on demand and renewed before it ends.

    ``fetch`` makes the network call or runs the command; it never runs under the lock. One thread
    fetches for all: while the old value still holds the others go on with it, else they wait for the new.
    """

    def __init__(self, fetch: Callable[[], str]) -> None:
        self._fetch = fetch
        self._lock = threading.Lock()
        self._value = ""
        self._renew_at = 0.0
        self._ends_at = 0.0
        self._fetching: Future[None] | None = None

    def get(self) -> str:
        now = time.time()
        if now < self._renew_at:
            return self._value
        self._fetch_once(self._value, wait=now > self._ends_at - EXPIRY_MARGIN)
        return self._value

    def renew(self, refused: str) -> bool:
        self._fetch_once(refused, wait=True)
        return self._value != refused

    def _fetch_once(self, stale: str, wait: bool) -> None:
        with self._lock:
            if self._value != stale:
                return  # another thread has renewed it in the meantime
            fetching, mine = self._fetching, self._fetching is None
            if fetching is None:
                fetching = self._fetching = Future()
        if not mine:
            if wait:
                fetching.result()
            return
        try:
            value = self._fetch()
        except BaseException as error:
            self._settle()
            fetching.set_exception(error)
            if wait or not isinstance(error, Exception):
                raise
            return  # the old value still holds; the next call tries again
        self._settle(value)
        fetching.set_result(None)

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        self._fetching = None

    def _settle(self, value: str | None = None) -> None:
        with self._lock:
            self._fetching = None
            if value is not None:
                self._value = value
                self._renew_at, self._ends_at = _lifetime(value)


def command_credential(command: str) -> RenewedCredential:
    """The credential that ``command`` (run by the shell, at most 30 s) prints on its standard output."""

    def run() -> str:
        try:
            done = subprocess.run(
                command, shell=True, capture_output=True, text=True, timeout=COMMAND_TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired:
            raise ConfigError(
                f"the credential command did not finish within {COMMAND_TIMEOUT:.0f} s"
            ) from None
        value = done.stdout.strip()
        if done.returncode or not value:
            # Its output may hold the credential, so the message does not repeat it.
            raise ConfigError(
                f"the credential command exited with status {done.returncode} and printed no credential"
            )
        return value

    return RenewedCredential(run)


def _lifetime(value: str) -> tuple[float, float]:
    """``(renew at, ends at)``: a JWT is renewed at half its life, 10 % either way; other values last an hour."""
    now = time.time()
    try:
        payload = value.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        ends_at = float(claims["exp"])
        life = ends_at - float(claims.get("iat", now))
    except (IndexError, ValueError, KeyError, TypeError):
        return now + 3600, now + 7200
    return now + life / 2 * random.uniform(0.9, 1.1), ends_at
