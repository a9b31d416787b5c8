"""The names of the endpoints, by which faults and recorded requests are selected."""

from __future__ import annotations

import fnmatch
import functools
import re

from tinkex.errors import InputError

PREFIX = "/api/v1"


@functools.cache
def _paths() -> dict[str, tuple[str, ...]]:
    """The paths of each name. A part of a path that varies is written as ``*``.

    The name of an endpoint is the last fixed part of its path, such as ``finish`` of ``/sessions/*/finish``, or the
    whole path without the first slash.
    """
    from tinkex.local.routes import ROUTES

    named: dict[str, list[str]] = {}
    for route in ROUTES:
        path = re.sub(r"\{[^}]*\}", "*", route.path)
        last = [part for part in path.split("/") if part not in ("", "*")][-1]
        for name in {last, path[1:]}:
            if path not in named.setdefault(name, []):
                named[name].append(path)
    return {name: tuple(paths) for name, paths in sorted(named.items())}


def patterns_of(endpoint: str) -> tuple[re.Pattern[str], ...]:
    """Return the patterns that the paths of ``endpoint`` match.

    ``endpoint`` is the name of an endpoint, such as ``asample``, or a path, which starts with a slash or a
    wildcard: ``/sessions/*/finish``, ``*``. Raises ``InputError``, which lists the endpoints, for an unknown name.
    """
    if isinstance(endpoint, str) and endpoint.startswith(("/", "*")):
        return (re.compile(fnmatch.translate(endpoint.removeprefix(PREFIX))),)
    found = _paths().get(endpoint) if isinstance(endpoint, str) else None
    if found is None:
        raise _unknown(endpoint)
    return tuple(map(_pattern, found))


def refuse_unknown(endpoint: str) -> None:
    """Raise ``InputError``, which lists the endpoints, if ``endpoint`` is a path that no endpoint has."""
    wanted = patterns_of(endpoint)
    path = endpoint.removeprefix(PREFIX)
    for known in (each for paths in _paths().values() for each in paths):
        # Either may have the wildcard: "/sessions/*/finish" is meant by "/sessions/abc/finish" and by "/sessions/*".
        if matches(known, wanted) or _pattern(known).fullmatch(path):
            return
    raise _unknown(endpoint)


def _pattern(path: str) -> re.Pattern[str]:
    """The pattern of one of ``_paths``, where ``*`` stands for one part between slashes."""
    return re.compile("[^/]+".join(map(re.escape, path.split("*"))))


def _unknown(endpoint: object) -> InputError:
    names = ", ".join(name for name in _paths() if "/" not in name)
    return InputError(
        f"{endpoint!r} is no endpoint; the endpoints are {names}, or the path of one, such as /asample"
    )


def matches(path: str, patterns: tuple[re.Pattern[str], ...]) -> bool:
    """Return whether a request's path matches one of ``patterns``."""
    path = path.removeprefix(PREFIX)
    return any(pattern.fullmatch(path) for pattern in patterns)
