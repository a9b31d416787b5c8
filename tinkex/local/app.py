"""The WSGI application: which requests are let in, which endpoint answers them, and how errors are answered."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Iterable
from typing import Any

from tinkex.local.errors import LocalError
from tinkex.local.model.errors import ModelError
from tinkex.local.protocol.refused import Refused
from tinkex.local.routes import ROUTES
from tinkex.local.routes.routing import Router
from tinkex.local.routes.statuses import refused
from tinkex.local.state import State
from tinkex.local.web.answer import Answer, document, refusal
from tinkex.local.web.hosts import Hosts
from tinkex.local.web.request import Request

logger = logging.getLogger("tinkex.local")
PREFIX = "/api/v1"


class App:
    """Answers the requests of one server. Without an ``api_key``, clients may use any key or none."""

    def __init__(self, state: State, hosts: Hosts, api_key: str | None) -> None:
        self._state = state
        self._hosts = hosts
        self._api_key = None if api_key is None else api_key.encode()
        self._router = Router(PREFIX, ROUTES)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request. The parameters and the result are those of a WSGI application."""
        request = Request(environ)
        answer = self._answer(request)
        start_response(answer.status_line, answer.all_headers)
        return () if request.method == "HEAD" else (answer.body,)

    def _answer(self, request: Request) -> Answer:
        try:
            self._hosts.check(request)
            return self._routed(request)
        except Refused as error:
            return refusal(error)
        except (LocalError, ModelError) as error:
            return refusal(refused(error))
        except RecursionError:
            return refusal(Refused(400, "the body is nested too deeply"))
        except Exception as error:
            logger.exception("%s %s failed", request.method, request.path)
            return document({"detail": f"server fault: {type(error).__name__}: {error}"}, 500)

    def _routed(self, request: Request) -> Answer:
        try:
            route = self._router.find(request)
        except Refused:
            self._check_key(request)
            raise
        if route.needs_key:
            self._check_key(request)
        return route.endpoint(self._state, request)

    def _check_key(self, request: Request) -> None:
        given = (request.header("X-API-Key") or "").encode()
        if self._api_key is not None and not hmac.compare_digest(given, self._api_key):
            raise Refused(401, "the X-API-Key header is missing or wrong")
