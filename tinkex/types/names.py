"""Names for plain types, to be used in annotations."""

from typing import Literal

ModelID = str
"""The id of a model in training. It is also the id of its training run."""
RequestID = str
"""The id of work that a server has accepted. ``RequestFailedError.request_id`` is one."""
Severity = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
"""The severity of a telemetry event."""
