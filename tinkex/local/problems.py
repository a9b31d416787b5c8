"""How a request is refused."""

from __future__ import annotations


class Refused(Exception):
    """Answered as `{"detail": …}` with `status`; from queued work, as a failed result of category "user"."""

    def __init__(self, status: int, detail: str, *, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.retry_after = retry_after
