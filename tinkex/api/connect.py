"""The first contact with a server: its flags, and the credential that it expects."""

from __future__ import annotations

from tinkex.api import service as api
from tinkex.config import Config
from tinkex.http.transport import Transport
from tinkex.types.flags import ServerFlags


def connect(config: Config) -> tuple[Transport, ServerFlags]:
    """Open a transport to the server of ``config``; return it with the flags of the server.

    The call blocks for the round trip. Raises ``APIError`` if the server cannot be reached or refuses the
    credential; the transport is closed then.
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
