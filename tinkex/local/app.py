"""The Flask application: authentication, errors, and the endpoints under `/api/v1`."""

from __future__ import annotations

import hmac
import logging
from typing import Any

from flask import Flask, jsonify, request
from werkzeug.exceptions import HTTPException

from .problems import Refused
from .routes import billing, rest, sampling, service, training
from .state import State

logger = logging.getLogger("tinkex.local")
PREFIX = "/api/v1"


def make_app(state: State, api_key: str | None) -> Flask:
    """The WSGI application of one server; `api_key` None takes any key, or none."""
    app = Flask("tinkex.local", static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.json.compact = True  # type: ignore[attr-defined]
    for module in (service, training, sampling, rest, billing):
        app.register_blueprint(module.routes(state), url_prefix=PREFIX)

    @app.before_request
    def authenticate() -> None:
        if api_key is None or request.endpoint in ("service.health", "rest.download"):
            return
        given = request.headers.get("X-API-Key", "")
        if not hmac.compare_digest(given.encode(), api_key.encode()):
            raise Refused(401, "the X-API-Key header is missing or wrong")

    @app.errorhandler(Refused)
    def refused(problem: Refused) -> Any:
        response = jsonify({"detail": problem.detail})
        response.status_code = problem.status
        if problem.status == 409:
            # Clients try a 409 again, as one that passes; here it means a number or name taken for good.
            response.headers["X-Should-Retry"] = "false"
        if problem.retry_after is not None:
            response.headers["Retry-After"] = f"{problem.retry_after:g}"
        return response

    @app.errorhandler(HTTPException)
    def http_problem(problem: HTTPException) -> Any:
        response = jsonify({"detail": problem.description or problem.name})
        response.status_code = problem.code or 500
        return response

    @app.errorhandler(Exception)
    def fault(problem: Exception) -> Any:
        logger.exception("%s %s failed", request.method, request.path)
        return jsonify({"detail": f"server fault: {type(problem).__name__}: {problem}"}), 500

    return app
