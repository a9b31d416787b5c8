"""How a sampling client treats its requests as a whole."""

from __future__ import annotations

from dataclasses import dataclass

from tinkex.errors import InputError


@dataclass(frozen=True)
class RetryConfig:
    """Limits of a ``SamplingClient``.

    ``max_connections``: requests in flight at once (None: the server's own limit). ``progress_timeout``:
    seconds in which at least one of the requests in flight must finish, else they are stuck and fail.
    """

    max_connections: int | None = None
    progress_timeout: float = 7200.0
    enable_stuck_detection: bool = True

    def __post_init__(self) -> None:
        if self.max_connections is not None and self.max_connections <= 0:
            raise InputError(f"max_connections must be positive, not {self.max_connections}")
        if self.progress_timeout <= 0:
            raise InputError(f"progress_timeout must be positive, not {self.progress_timeout}")
