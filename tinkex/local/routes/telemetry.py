"""Reports of what happened to a session, which this server does not keep."""

from __future__ import annotations

from tinkex.local.routes.routing import Route
from tinkex.local.state import State
from tinkex.local.web.answer import Answer, document
from tinkex.local.web.request import Request


def telemetry(state: State, request: Request) -> Answer:
    """Accept a report."""
    return document({"status": "accepted"})


ROUTES = (Route("POST", "/telemetry", telemetry),)
