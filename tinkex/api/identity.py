"""The owner of a credential."""

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
    """Return the owner of the credential of ``config``, as the claims of a JWT name it.

    The JWT is the credential itself, or one that the server gives in exchange for an API key. Raises
    ``NotFoundError`` if the server has no JWTs, and other ``APIStatusError``s if it refuses the key.
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
