"""Routing: finds the endpoint for the method and the path of a request."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from tinkex.local.protocol.refused import Refused
from tinkex.local.state import State
from tinkex.local.web.answer import Answer
from tinkex.local.web.request import Request

Endpoint = Callable[[State, Request], Answer]


class Route(NamedTuple):
    """The endpoint of one method and path.

    A part of the path in braces, such as ``{session_id}``, stands for any text without a slash; the endpoint finds
    that text in ``request.parameters``. Requests must bring the server's key unless ``needs_key`` is false.
    """

    method: str
    path: str
    endpoint: Endpoint
    needs_key: bool = True


class Router:
    """Finds routes by method and path. All paths are below ``prefix``."""

    def __init__(self, prefix: str, routes: Iterable[Route]) -> None:
        self._fixed: dict[str, dict[str, Route]] = {}
        self._patterns: dict[int, list[tuple[list[str], dict[str, Route]]]] = {}
        for route in routes:
            self._methods_of(prefix + route.path)[route.method] = route

    def _methods_of(self, path: str) -> dict[str, Route]:
        if "{" not in path:
            return self._fixed.setdefault(path, {})
        parts = path.split("/")
        same_length = self._patterns.setdefault(len(parts), [])
        for known, methods in same_length:
            if known == parts:
                return methods
        same_length.append((parts, {}))
        return same_length[-1][1]

    def find(self, request: Request) -> Route:
        """Return the route of ``request``, and set the ``parameters`` of the request.

        Raises ``Refused``: 404 if no route has this path, 405 if only routes with other methods have
        it.
        """
        methods = self._fixed.get(request.path)
        if methods is None:
            methods, request.parameters = self._match(request.path)
        # HEAD asks for what GET would answer, without the body.
        route = methods.get("GET" if request.method == "HEAD" else request.method)
        if route is None:
            raise Refused(405, f"{request.path} takes {', '.join(sorted(methods))}, not {request.method}")
        return route

    def _match(self, path: str) -> tuple[dict[str, Route], dict[str, str]]:
        parts = path.split("/")
        for pattern, methods in self._patterns.get(len(parts), ()):
            parameters = {}
            for name, part in zip(pattern, parts):
                if name.startswith("{") and part:
                    parameters[name[1:-1]] = part
                elif name != part:
                    break
            else:
                return methods, parameters
        raise Refused(404, f"there is nothing at {path}")
