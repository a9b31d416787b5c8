"""The settings of a client. Only this module reads the environment and the stored login.

A ``Config`` is made once, by ``Config.from_env``, never changes, and is passed down. Two clients with two configs
share nothing but the process. The ``repr`` of a config hides secrets.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeGuard
from urllib.parse import parse_qsl, urlsplit

from tinkex.errors import ConfigError

DEFAULT_BASE_URL = "https://tinker.thinkingmachines.dev/services/tinker-prod"
"""The hosted service, used when neither an argument nor ``TINKER_BASE_URL`` names another."""

LOCAL_SCHEME = "local"
"""``local://`` is the embedded server; ``local:///some/dir`` keeps its checkpoints in that folder.

Options follow a question mark: ``local:///some/dir?model=Qwen/Qwen3-8B=151936&model=other/model&strict=1``.
"""

WireFormat = Literal["auto", "proto", "json"]


@dataclass(frozen=True)
class Config:
    """All settings of one client. Times are in seconds.

    ``Config(...)`` uses the given values and defaults; ``Config.from_env(...)`` also reads the ``TINKER_*``
    environment variables. Raises ``ConfigError`` for values that are not valid.
    """

    base_url: str = DEFAULT_BASE_URL
    api_key: str | None = field(default=None, repr=False)
    credential_cmd: str | None = field(default=None, repr=False)
    """A shell command that prints a credential; used when there is no ``api_key``."""

    project_id: str | None = None
    tags: tuple[str, ...] = ()
    user_metadata: Mapping[str, str] | None = None
    display_name: str | None = None

    default_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    proxies: Mapping[str, str] | None = field(default=None, repr=False)
    """Proxies in the form that ``requests`` uses. None means those of the environment variables."""

    max_result_bytes: int = 1 << 30
    """The largest size of a result of training or sampling, in bytes after decompression."""
    max_message_bytes: int = 16 << 20
    """The largest size of any other answer, in bytes after decompression."""

    connect_timeout: float = 5.0
    read_timeout: float = 60.0
    first_contact_timeout: float = 0.0
    """How long a connection that is refused is tried again until a server has answered for the first time.

    A server that is only just starting needs this. By default there are two tries, because a wrong address is more
    likely.
    """
    max_tries: int = 10
    """The most tries of one HTTP call, including the first."""
    retry_delay: float = 0.5
    """The wait before the second try. It doubles up to ``retry_delay_max``, with 25 % jitter either way."""
    retry_delay_max: float = 10.0
    max_wait: float = 60.0
    """The longest wait before the next try that a server can ask for (``Retry-After``)."""
    poll_timeout: float = 45.0
    """How long the client waits for the answer to one long poll."""
    outage_timeout: float = 300.0
    """How long polling continues while the server cannot be reached, or gives answers that cannot be used."""
    poll_outage_timeout: float | None = 3600.0
    """How long polling continues while the server accepts polls and answers none of them; None means for ever."""

    wire_format: WireFormat = "auto"
    """The format of training requests. ``auto`` tries proto first, and uses JSON if the server refuses proto."""
    end_session_on_sigterm: bool = True
    """End the session when SIGTERM kills the process, unless the program handles SIGTERM itself."""
    telemetry: bool = True
    """Report the session's start, end and errors to the server; never done for ``local://``."""

    def __post_init__(self) -> None:
        _check_url(self.base_url)
        if not self.is_local:  # the embedded server has a key of its own
            check_key(self.api_key)
        if not self.is_local and not self.api_key and not self.credential_cmd:
            raise ConfigError(
                "no API key: pass api_key=..., set TINKER_API_KEY, run 'tinkex auth login', or use "
                "base_url='local://' for the embedded server, which needs none"
            )
        if self.wire_format not in ("auto", "proto", "json"):
            raise ConfigError(f"wire_format must be 'auto', 'proto' or 'json', not {self.wire_format!r}")
        for name in (
            "connect_timeout",
            "read_timeout",
            "max_wait",
            "poll_timeout",
            "outage_timeout",
            "poll_outage_timeout",
        ):
            value = getattr(self, name)
            if name == "poll_outage_timeout" and value is None:
                continue
            if not _is_number(value) or not 0 < value <= threading.TIMEOUT_MAX:
                raise ConfigError(f"{name} must be a positive number of seconds, not {value!r}")
        for name in ("first_contact_timeout", "retry_delay", "retry_delay_max"):
            value = getattr(self, name)
            if not _is_number(value) or not 0 <= value <= threading.TIMEOUT_MAX:
                raise ConfigError(f"{name} must be a number of seconds, not {value!r}")
        for name in ("max_tries", "max_result_bytes", "max_message_bytes"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(f"{name} must be a whole number, at least 1, not {value!r}")
        for name, value in self.default_headers.items():
            if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
                raise ConfigError(f"{name!r} is not the name of a header")
            if not isinstance(value, str) or not _HEADER_VALUE.fullmatch(value):
                # The message does not show the value, which may be a secret.
                raise ConfigError(f"default header {name!r} must be one line of Latin-1 text")
        object.__setattr__(
            self, "base_url", self.base_url.rstrip("/") if not self.is_local else self.base_url
        )

    @property
    def is_local(self) -> bool:
        """Whether ``base_url`` means the embedded server."""
        return self.base_url.startswith(LOCAL_SCHEME + "://")

    @property
    def local_directory(self) -> str | None:
        """The checkpoint folder of ``local:///folder``; None for plain ``local://``."""
        return self.base_url[len(LOCAL_SCHEME) + 3 :].partition("?")[0] or None

    @property
    def local_models(self) -> tuple[str, ...]:
        """The models of ``local://?model=NAME&model=NAME=SIZE``, which the embedded server offers too."""
        return tuple(value for name, value in _local_options(self.base_url) if name == "model")

    @property
    def local_strict(self) -> bool:
        """Whether the embedded server is strict, as for ``local://?strict=1``."""
        return any(
            _SWITCH[value.lower()] for name, value in _local_options(self.base_url) if name == "strict"
        )

    @classmethod
    def resolve(cls, config: Config | None, **overrides: Any) -> Config:
        """Return ``config``, or a config from the environment if it is None, with ``overrides`` applied.

        An override of None counts as not given. Raises ``ConfigError`` for a setting that is not
        valid.
        """
        if config is None:
            return cls.from_env(**overrides)
        return replace(config, **{name: value for name, value in overrides.items() if value is not None})

    @classmethod
    def from_env(cls, **overrides: Any) -> Config:
        """Make a config from ``overrides`` and the environment. An override of None counts as not given.

        Reads ``TINKER_API_KEY``, ``TINKER_BASE_URL``, ``TINKER_PROJECT_ID``, ``TINKER_TAGS`` (comma list),
        ``TINKER_TELEMETRY``, ``TINKER_CREDENTIAL_CMD``, ``CLOUDFLARE_ACCESS_CLIENT_ID`` / ``_SECRET`` and
        ``TINKEX_FIRST_CONTACT_TIMEOUT`` (seconds); an empty variable counts as unset. Without a key or a command
        for one, the stored login is used.
        """
        given = {name: value for name, value in overrides.items() if value is not None}
        unknown = given.keys() - {f.name for f in fields(cls)}
        if unknown:
            raise ConfigError(f"unknown settings: {', '.join(sorted(unknown))}")
        env = {name: value for name, value in os.environ.items() if value}
        found: dict[str, Any] = {
            "base_url": env.get("TINKER_BASE_URL"),
            "api_key": env.get("TINKER_API_KEY"),
            "credential_cmd": env.get("TINKER_CREDENTIAL_CMD"),
            "project_id": env.get("TINKER_PROJECT_ID"),
            "tags": tuple(tag.strip() for tag in env.get("TINKER_TAGS", "").split(",") if tag.strip()),
            "first_contact_timeout": _seconds("TINKEX_FIRST_CONTACT_TIMEOUT", env),
            "telemetry": env.get("TINKER_TELEMETRY", "1").lower() not in ("0", "false", "no", "off"),
        }
        settings = {name: value for name, value in found.items() if value is not None} | given
        local = str(settings.get("base_url")).startswith(LOCAL_SCHEME + "://")
        if not local and "api_key" not in settings and "credential_cmd" not in settings:
            settings["api_key"] = stored_key()
        access = {
            "CF-Access-Client-Id": env.get("CLOUDFLARE_ACCESS_CLIENT_ID"),
            "CF-Access-Client-Secret": env.get("CLOUDFLARE_ACCESS_CLIENT_SECRET"),
        }
        headers = {name: value for name, value in access.items() if value}
        settings["default_headers"] = headers | dict(settings.get("default_headers") or {})
        return cls(**settings)


def named_base_url() -> str | None:
    """Return ``TINKER_BASE_URL``, or None. For programs whose default is not the hosted service."""
    return os.environ.get("TINKER_BASE_URL") or None


def log_level() -> str | None:
    """Return the log level that ``TINKER_LOG`` names, or None."""
    return os.environ.get("TINKER_LOG") or None


def credentials_path() -> Path:
    """Return the path of the file of stored logins, which the official tool uses too."""
    return Path(os.path.expanduser("~"), ".tinker", "credentials.json")


def stored_key(path: Path | None = None) -> str | None:
    """Return the default key of the stored logins, or None. Raises ``ConfigError`` if the file is damaged.

    ``path`` is the file, if it is not that of ``credentials_path``.
    """
    path = path or credentials_path()
    try:
        content = path.read_bytes()
    except OSError:
        return None
    try:
        stored = json.loads(content)
        record = stored.get("keys", {}).get(stored.get("default"))
        return None if record is None else str(record["key"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    # This is raised outside the handler, because the first error may contain the file's content, and so a key.
    raise ConfigError(f"{path} is damaged: delete it and run 'tinkex auth login'")


def is_credential(value: object) -> TypeGuard[str]:
    """Return whether ``value`` can be sent as a credential: one word of printable ASCII."""
    return (
        isinstance(value, str)
        and value.isascii()
        and value.isprintable()
        and value != ""
        and " " not in value
    )


def _seconds(name: str, env: Mapping[str, str]) -> float | None:
    """Return the number of seconds that the variable ``name`` has, or None if it is unset."""
    try:
        return float(env[name]) if name in env else None
    except ValueError:
        raise ConfigError(f"{name} must be a number of seconds, not {env[name]!r}") from None


def _check_url(url: object) -> None:
    if not isinstance(url, str):
        raise ConfigError(f"base_url must be text, not {type(url).__name__}")
    if url.startswith(LOCAL_SCHEME + "://"):
        for name, value in _local_options(url):
            if name not in ("model", "strict"):
                raise ConfigError(
                    f"base_url {url!r}: local:// has the options model and strict, not {name!r}"
                )
            if not value or (name == "strict" and value.lower() not in _SWITCH):
                raise ConfigError(f"base_url {url!r}: {value!r} is no value of the option {name}")
        return
    try:
        parts = urlsplit(url)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError as error:
        raise ConfigError(f"base_url {url!r} is not a URL: {error}") from None
    if not url.isascii() or not url.isprintable():
        raise ConfigError(f"base_url must be printable ASCII, not {url!r}")
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine:
        raise ConfigError(f"base_url must look like https://host[:port]/path or local://, not {url!r}")
    if parts.username or parts.password:
        raise ConfigError("base_url must not carry a user name or password; use api_key")
    if any(c.isspace() for c in url) or parts.query or parts.fragment:
        raise ConfigError(f"base_url must have no spaces, query or fragment, not {url!r}")


def _local_options(url: str) -> list[tuple[str, str]]:
    """Return the options that follow the question mark of ``local://``, in order."""
    return parse_qsl(url.partition("?")[2].replace("+", "%2B"), keep_blank_values=True)


def check_key(key: object) -> None:
    """Raise ``ConfigError`` unless the key has the form ``tml-…`` or ``eyJ…`` (a JWT), without showing it."""
    if key is None:
        return
    if not isinstance(key, str):
        raise ConfigError(f"api_key must be text, not {type(key).__name__}")
    if not key.startswith(("tml-", "eyJ")) or not is_credential(key):
        raise ConfigError(
            "malformed API key: it must start with 'tml-' (or be a JWT, 'eyJ...') and be one word"
        )


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_SWITCH = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")
