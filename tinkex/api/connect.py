"""First contact with a server: how it wants to be spoken to."""

from __future__ import annotations

from tinkex.api import service as api
from tinkex.config import Config
from tinkex.http.transport import Transport
from tinkex.types.flags import ServerFlags


def connect(config: Config) -> tuple[Transport, ServerFlags]:
    """A transport to the server of ``config`` and the server's flags; blocks for the round trip.

    Raises ``APIError`` if there is no server or it refuses the credential; then nothing stays open.
    """
    transport = Transport(config)
    try:
        flags = api.client_config(transport)
    except BaseException:
        transport.close()
        raise
    if flags.pjwt_auth_enabled:
        transport.use_jwt()
    return transport, flags
