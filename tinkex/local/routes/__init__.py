"""The endpoints, one function each, in modules named as those of ``tinkex/api/``.

Every module has a table ``ROUTES`` of its endpoints. An endpoint takes the server's state and a request, and returns
the answer; it raises for what it refuses.
"""

from __future__ import annotations

from tinkex.local.routes import (
    admin,
    downloads,
    futures,
    info,
    models,
    rest,
    sampling,
    service,
    telemetry,
    training,
)

ROUTES = (
    *service.ROUTES,
    *info.ROUTES,
    *telemetry.ROUTES,
    *futures.ROUTES,
    *models.ROUTES,
    *training.ROUTES,
    *sampling.ROUTES,
    *rest.ROUTES,
    *downloads.ROUTES,
    *admin.ROUTES,
)
