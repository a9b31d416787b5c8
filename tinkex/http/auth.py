"""Credentials: a fixed key, a command that prints a credential, and a short-lived JWT."""

from __future__ import annotations

import base64
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple, Protocol, TypeGuard

from tinkex.concurrency.at_fork import renew_after_fork
from tinkex.config import is_credential
from tinkex.errors import ConfigError
from tinkex.http.json_text import parse_json

COMMAND_TIMEOUT = 30.0
EXPIRY_MARGIN = 60.0
"""A JWT is not used any more in the last seconds before it expires."""
RETRY_SECONDS = 5.0
"""Seconds between the attempts to renew a credential that is still valid."""
_LATEST = 2.0**53
"""The latest point in time. Up to this number, floats represent every second exactly."""


class Credential(Protocol):
    """The source of the value of the ``X-API-Key`` header."""

    def get(self) -> str:
        """Return the present value."""

    def renew(self, refused: str) -> bool:
        """Return whether there is now another value than the one that was ``refused``."""


class FixedKey:
    """An API key that never changes."""

    def __init__(self, key: str) -> None:
        self._key = key

    def get(self) -> str:
        """Return the key."""
        return self._key

    def renew(self, refused: str) -> bool:
        """Return False, because there is no other key."""
        return False


class _Value(NamedTuple):
    """A credential, when to renew it, and when it expires. It is replaced as a whole, so a reader needs no lock."""

    text: str = ""
    renew_at: float = 0.0
    ends_at: float = 0.0


class RenewedCredential:
    """A credential that is fetched when it is needed, and renewed before it expires.

    ``fetch`` makes the network call or runs the command; the lock is not held meanwhile. One thread fetches for
    all. The other threads use the old value while it is valid, and then wait for the new one.
    """

    def __init__(self, fetch: Callable[[], str]) -> None:
        self._fetch = fetch
        self._value = _Value()
        self._lock = threading.Lock()
        self._fetching: Future[bool] | None = None
        renew_after_fork(self)

    def get(self) -> str:
        """Return the present value, fetching a new one if it has expired or will soon."""
        value = self._value
        now = time.time()
        if now >= value.renew_at:
            self._fetch_once(value.text, wait=now > value.ends_at - EXPIRY_MARGIN)
        return self._value.text

    def renew(self, refused: str) -> bool:
        """Fetch a new value unless there is one already; return whether it differs from ``refused``."""
        self._fetch_once(refused, wait=True)
        return self._value.text != refused

    def _fetch_once(self, stale: str, *, wait: bool) -> None:
        with self._lock:
            if self._value.text != stale:
                return  # another thread has renewed it in the meantime
            fetching, mine = self._fetching, self._fetching is None
            if fetching is None:
                fetching = self._fetching = Future()
        if mine:
            self._fetch_for_all(fetching, wait=wait)
        elif wait and not fetching.result():
            self._fetch_once(stale, wait=wait)

    def _fetch_for_all(self, fetching: Future[bool], *, wait: bool) -> None:
        try:
            text = self._fetch()
        except Exception as error:
            # If the old value is still valid, it is kept, and the next attempt to renew it comes a little later.
            later = self._value if wait else self._value._replace(renew_at=time.time() + RETRY_SECONDS)
            self._settle(later)
            fetching.set_exception(error)
            if wait:
                raise
        except BaseException:
            # Ctrl-C interrupts only this thread; the others fetch themselves.
            self._settle(self._value)
            fetching.set_result(False)
            raise
        else:
            self._settle(_Value(text, *_lifetime(text)))
            fetching.set_result(True)

    def _settle(self, value: _Value) -> None:
        with self._lock:
            self._fetching = None
            self._value = value

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        self._fetching = None


def command_credential(command: str) -> RenewedCredential:
    """Return the credential that the shell command ``command`` prints, which may take at most 30 seconds."""
    import subprocess

    def run() -> str:
        printed, status = b"", 0
        try:
            done = subprocess.run(
                command, shell=True, capture_output=True, timeout=COMMAND_TIMEOUT, check=False
            )
            printed, status = done.stdout.strip(), done.returncode
            problem = f"exited with status {status} and printed no credential"
        except subprocess.TimeoutExpired:
            problem = f"did not finish within {COMMAND_TIMEOUT:.0f} s"
        except OSError as error:
            problem = f"cannot be run: {error.strerror}"
        value = printed.decode("ascii", "replace")
        if printed and not status:
            if is_credential(value):
                return value
            problem = "must print one credential, a single word of ASCII, and printed something else"
        # The output may contain a credential, so neither this message nor a chained error repeats it.
        raise ConfigError(f"the credential command {problem}")

    return RenewedCredential(run)


def claims_of(token: str) -> dict[str, Any] | None:
    """Return the claims of a JWT, or None if ``token`` is not a JWT."""
    try:
        payload = token.split(".")[1]
        claims = parse_json(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (IndexError, ValueError):
        return None
    return claims if isinstance(claims, dict) else None


def _lifetime(value: str) -> tuple[float, float]:
    """Return when to renew a credential, and when it expires.

    A JWT is renewed after half its life, plus or minus 10 %. Other credentials are kept for an hour.
    """
    now = time.time()
    claims = claims_of(value) or {}
    begins_at, ends_at = claims.get("iat", now), claims.get("exp")
    if not (_is_time(begins_at) and _is_time(ends_at)):
        return now + 3600, now + 7200
    life = ends_at - begins_at
    return min(now + life / 2 * random.uniform(0.9, 1.1), ends_at - EXPIRY_MARGIN), ends_at


def _is_time(value: Any) -> TypeGuard[float]:
    """Return whether ``value`` is a point in time in seconds since 1970."""
    return type(value) in (int, float) and 0 <= value <= _LATEST
