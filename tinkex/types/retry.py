"""The limits of a sampling client."""

from __future__ import annotations

from dataclasses import dataclass

from tinkex.errors import InputError


@dataclass(frozen=True)
class RetryConfig:
    """Limits of a ``SamplingClient``.

    ``max_connections`` is the most requests in flight at once; None means the limit that the server names.
    With ``enable_stuck_detection``, all requests in flight fail if none of them finishes within
    ``progress_timeout`` seconds. Raises ``InputError`` for values that are not positive.
    """

    max_connections: int | None = None
    progress_timeout: float = 7200.0
    enable_stuck_detection: bool = True

    def __post_init__(self) -> None:
        if self.max_connections is not None and self.max_connections <= 0:
            raise InputError(f"max_connections must be positive, not {self.max_connections}")
        if self.progress_timeout <= 0:
            raise InputError(f"progress_timeout must be positive, not {self.progress_timeout}")
