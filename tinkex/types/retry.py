"""The limits of a sampling client."""

from __future__ import annotations

from dataclasses import dataclass, fields

from tinkex.errors import InputError
from tinkex.observability.caller_warnings import warn_caller

_IGNORED = (
    "retry_delay_base",
    "retry_delay_max",
    "jitter_factor",
    "enable_retry_logic",
    "retryable_exceptions",
)


@dataclass(frozen=True)
class RetryConfig:
    """Limits of a ``SamplingClient``.

    ``max_connections`` is the most requests in flight at once; None means the limit that the server names.
    With ``enable_stuck_detection``, all requests in flight fail if none of them finishes within
    ``progress_timeout`` seconds. Raises ``InputError`` for values that are not positive.

    The other fields are those of the official SDK. ``Config`` says how failed requests are repeated
    (``retry_delay``, ``retry_delay_max``, ``max_tries``), so these fields have no effect here, and another value
    than the default is warned about.
    """

    max_connections: int | None = None
    progress_timeout: float = 7200.0
    retry_delay_base: float = 0.5
    retry_delay_max: float = 10.0
    jitter_factor: float = 0.25
    enable_retry_logic: bool = True
    enable_stuck_detection: bool = True
    retryable_exceptions: tuple[type[Exception], ...] = ()

    def __post_init__(self) -> None:
        if self.max_connections is not None and self.max_connections <= 0:
            raise InputError(f"max_connections must be positive, not {self.max_connections}")
        if self.progress_timeout <= 0:
            raise InputError(f"progress_timeout must be positive, not {self.progress_timeout}")
        ignored = [f.name for f in fields(self) if f.name in _IGNORED and getattr(self, f.name) != f.default]
        if ignored:
            warn_caller(f"RetryConfig ignores {', '.join(ignored)}: see tinkex.Config", UserWarning)
