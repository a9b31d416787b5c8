"""A request that is refused, with the HTTP status that says so."""

from __future__ import annotations


class Refused(Exception):
    """The refusal of a request with ``status`` and the JSON object ``{"detail": …}``.

    With ``retry_after``, the client is told to send the request again after that many seconds.
    """

    def __init__(self, status: int, detail: str, *, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.retry_after = retry_after
