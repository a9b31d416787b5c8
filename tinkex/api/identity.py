"""The owner of a credential."""

from __future__ import annotations

from tinkex.config import Config
from tinkex.errors import APIResponseValidationError
from tinkex.http.auth import Credential, FixedKey, claims_of, command_credential
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
        token = transport.exchange(credential)
    claims = claims_of(token)
    if claims is None:
        raise APIResponseValidationError("the server's token cannot be read")
    for name in ("sub", "org_id", "email"):
        if not isinstance(claims.get(name), str) and (name != "email" or claims.get(name) is not None):
            raise APIResponseValidationError(f"the credential's token does not say {name!r}")
    return WhoamiResponse(claims["sub"], f"tml:organization:{claims['org_id']}", claims.get("email") or None)
