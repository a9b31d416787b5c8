"""The endpoint for telemetry events."""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Sequence
from typing import Any

from tinkex.api.call import send
from tinkex.api.service import PROTOCOL_VERSION
from tinkex.http.transport import Transport

_PROCESS = uuid.uuid4()


def send_telemetry(
    transport: Transport, session_id: str, events: Sequence[dict[str, Any]], timeout: float
) -> None:
    """Send ``events`` of one session, in one try of ``timeout`` seconds."""
    payload = {
        "session_id": session_id,
        "platform": platform.system(),
        "sdk_version": PROTOCOL_VERSION,
        # This is the same for all sessions of a process, and different in a forked child.
        "process_uuid": str(uuid.uuid5(_PROCESS, str(os.getpid()))),
        "events": events,
    }
    send(transport, "POST", "/telemetry", payload, timeout=timeout, tries=1)
