"""``tinkex auth``: the stored API key, which is used if neither an argument nor the environment gives one."""

from __future__ import annotations

import socket
import sys
from typing import Any

import click

from tinkex.cli import call as calls
from tinkex.cli import credentials
from tinkex.cli.failures import BadInput, CallFailed, explained
from tinkex.cli.output import plain, properties, show, yes
from tinkex.cli.progress import progress
from tinkex.types import console

_KEYS = f"{console.CONSOLE}/keys"


@click.group()
def auth() -> None:
    """The API key."""


@auth.command()
@calls.server
def login(call: calls.Call) -> None:
    """Store an API key in ~/.tinker/credentials.json, once the server has accepted it.

    The key is asked for without being shown, or read from standard input. The official tool finds it too.
    """
    if credentials.default() is not None:
        raise CallFailed("already logged in; run 'tinkex auth logout' first")
    key = _ask()
    config = call.config(api_key=key)
    if config.is_local:
        raise BadInput("the embedded server needs no login; give the --base-url of another")
    with progress("login"):
        key_id, record = _describe(config)
    credentials.add(key_id, {"type": "manual", "key": key, **record})
    details = record.get("details")
    owner = (
        f"{details['user_details']['email']} ({details['org_details']['name']})"
        if details
        else config.base_url
    )
    done = {"logged_in": True, "name": record["name"], "base_url": config.base_url}
    show(call, done, f"logged in: {plain(owner)}; stored as {plain(record['name'])}")


@auth.command()
@calls.output
def logout(call: calls.Call) -> None:
    """Forget the stored API key. The key itself stays valid until it is deleted in the console."""
    found = credentials.default()
    if found is None:
        raise CallFailed("there is no stored login; 'tinkex auth login' makes one")
    key_id, record = found
    credentials.remove(key_id)
    name = str(record.get("name", key_id))
    text = f"forgot {plain(name)}; the key is valid until you delete it at {_KEYS}"
    show(call, {"logged_in": False, "name": name}, text)


@auth.command()
@calls.server
def status(call: calls.Call) -> None:
    """Show where the API key comes from, and whether the server accepts it; exit status 1 if not."""
    from tinkex import ConfigError, TinkerError
    from tinkex.config import stored_key

    found: dict[str, Any] = {"credentials_available": False, "source": None, "accessible": False}
    failure = None
    try:
        config = call.config()
        stored = not config.is_local and config.api_key is not None and config.api_key == stored_key()
        source = "stored login" if stored else "TINKER_API_KEY" if config.api_key else "TINKER_CREDENTIAL_CMD"
        found |= {"credentials_available": True, "source": "none needed" if config.is_local else source}
        found["base_url"] = config.base_url
        with call.rest() as client, progress("server"):
            client.get_server_capabilities().result()
        found["accessible"] = True
    except ConfigError as error:
        failure = str(error)
    except TinkerError as error:
        failure = explained(error)
    values = {
        "credentials": yes(found["credentials_available"]),
        "from": found["source"],
        "server": found.get("base_url"),
        "accessible": yes(found["accessible"]),
    }
    show(call, found, properties("API key", values))
    if failure is not None:
        raise CallFailed(failure)


@auth.command()
@calls.server
def whoami(call: calls.Call) -> None:
    """Show whose API key it is."""
    from tinkex import NotFoundError

    with call.rest() as client, progress("server"):
        try:
            found = client.whoami().result()
        except NotFoundError:
            raise CallFailed(
                "this server does not tell whose key it is; 'tinkex auth status' checks it"
            ) from None
    document = {"user_urn": found.user_urn, "org_urn": found.org_urn, "email": found.email}
    values = {"email": found.email, "user": found.user_urn, "organization": found.org_urn}
    show(call, document, properties("API key", values))


def _ask() -> str:
    if sys.stdin.isatty():
        click.echo(f"Create a key at {_KEYS}", err=True)
        return str(click.prompt("API key", hide_input=True, err=True)).strip()
    # getpass would read from the terminal although standard input is redirected.
    key = sys.stdin.readline().strip()
    if not key:
        raise BadInput("no key on standard input")
    return key


def _describe(config: Any) -> tuple[str, dict[str, Any]]:
    """Return the id of the key and its record for the file of logins.

    Raises ``APIStatusError`` if the server does not accept the key.
    """
    from tinkex import APIResponseValidationError, NotFoundError
    from tinkex.api.connect import connect
    from tinkex.api.info import get_server_capabilities

    transport, _ = connect(config)
    try:
        answer = transport.request("GET", "/auth/apikey/me").json()
        details = answer["details"]
        record = {
            "name": str(answer["name"]),
            "note": str(answer["note"]),
            "details": {
                "org_details": {"name": str(details["org_details"]["name"])},
                "user_details": {"email": str(details["user_details"]["email"])},
            },
        }
        return str(answer["key_id"]), record
    except NotFoundError:
        # The server does not describe keys. Any other call tells whether it accepts this one.
        get_server_capabilities(transport)
        name = f"tinkex-cli-{socket.gethostname().split('.')[0] or 'unknown'}"
        return name, {"name": name}
    except (KeyError, TypeError):
        raise APIResponseValidationError("the server's answer does not describe a key") from None
    finally:
        transport.close()
