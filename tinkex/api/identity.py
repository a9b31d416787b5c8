"""Who a credential belongs to."""

from __future__ import annotations

import base64
import json
from typing import Any

from tinkex.api.call import post
from tinkex.config import Config
from tinkex.errors import APIResponseValidationError
from tinkex.http.auth import Credential, FixedKey, command_credential
from tinkex.http.endpoint import resolve
from tinkex.http.transport import Transport
from tinkex.types.rest import WhoamiResponse


def whoami(transport: Transport, config: Config) -> WhoamiResponse:
    """Read from the claims of a JWT: the credential itself if it is one, else one that it is exchanged for.

    Raises ``APIStatusError`` (404 on a server without JWTs).
    """
    _, key = resolve(config)
    credential: Credential = FixedKey(key) if key else command_credential(config.credential_cmd or "")
    token = credential.get()
    if not token.startswith("eyJ"):
        token = str(post(transport, "/auth/token", {}, credential=credential).get("jwt", ""))
    claims = _claims(token)
    try:
        return WhoamiResponse(
            claims["sub"], f"tml:organization:{claims['org_id']}", claims.get("email") or None
        )
    except KeyError as missing:
        raise APIResponseValidationError(f"the credential's token does not say {missing}") from None


def _claims(token: str) -> dict[str, Any]:
    try:
        payload = token.split(".")[1]
        claims: dict[str, Any] = dict(
            json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        )
    except (IndexError, ValueError, TypeError):
        raise APIResponseValidationError("the server's token cannot be read") from None
    return claims
